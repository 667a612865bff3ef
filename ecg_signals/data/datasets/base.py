"""What every dataset is: items by index, and a collate that makes one batch of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch.utils.data import Dataset

from ecg_signals.config import BaseConfig, ConfigError, option, resolve_input
from ecg_signals.data.batching import BatchIterator
from ecg_signals.data.label_file import LabelFile, Test
from ecg_signals.data.remote import is_url
from ecg_signals.data.sources.remote import fetched_manifest
from ecg_signals.data.transforms.rng import keyed
from ecg_signals.sections import DatasetConfig
from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.windows import Cutting

CROP = 1 << 16  # the random stream of an item's crop


@dataclass
class SignalsConfig(DatasetConfig):
    """What several datasets have: how signals are read."""

    leads_to_load: list[str | int] | str | None = option(
        None, "leads by name or index, such as [I, II, 6]; None: all, of records with named leads the 12 standard ones",
        section="task",
    )  # fmt: skip
    sample_rate: int | None = option(
        None, "Hz that every file must have, or is brought to; None: the first file's", section="task"
    )
    clip: float | None = option(
        None, "largest value behind all scaling, and smallest; None: no limit", above=0, ours=True
    )


@dataclass
class LongestConfig(DatasetConfig):
    """What several datasets have: a limit to the length of items."""

    max_sample_size: int | None = option(
        None, "crop longer items to this many samples, at random (ecg_qa: their first ones)", least=1, section="task"
    )


@dataclass
class PreparedConfig(DatasetConfig):
    """What datasets of segments have: which rows count, and what is done to their signals (data/preparation.py)."""

    filter: bool = option(False, "remove baseline wander and 50 Hz hum from every lead", section="task")
    normalize: bool = option(False, "subtract and divide by the numbers in mean_path and std_path", section="task")
    mean_path: str | None = option(None, "text file with one mean per lead, in the standard order", section="task")
    std_path: str | None = option(
        None, "text file with one standard deviation per lead, in the standard order", section="task"
    )
    enable_padding: bool = option(
        False, "pad to the longest item and give a padding mask, instead of cropping to the shortest", section="task"
    )
    min_sample_size: int | None = option(None, "leave out manifest rows with fewer samples", least=0, section="task")


@dataclass
class WindowsConfig(DatasetConfig):
    """What several datasets have: items of one length."""

    window_samples: int = option(
        5000, "samples of an item, at task.sample_rate; of ECGs that are all at 500 Hz, at 500 Hz", least=1, ours=True
    )


class BaseDataset(Dataset[dict[str, Any]]):
    """One split of the data. Built as `cls(cfg, path, training=..., seed=...)`.

    `item["id"]` is the row number in the manifest. All randomness comes from `self.rng(index)`, so that an item
    depends on (seed, epoch, index) alone: not on the number of workers, nor on where training was interrupted.

    Args:
        cfg: the dataset's options.
        path: the manifest, `<task.data>/<split>.tsv` (or the class's `suffix`).
        training: True for the split that trains: augmentation on.
        seed: `common.seed`.
    """

    suffix: ClassVar[str] = ".tsv"  # of the manifests that this dataset reads
    longest_first: ClassVar[bool] = True  # batches hold items of like length; False: items as they come at random
    crops_as_windows: ClassVar[bool] = False  # its training crops begin as dataset.crop_starts says
    PEER_METHODS: ClassVar[dict[str, str]] = {"collator": "collate(items) -> batch", "num_tokens": "sizes"}

    def __init__(self, cfg: DatasetConfig, path: str | Path, *, training: bool = False, seed: int = 1) -> None:
        self.cfg = cfg
        self.path = Path(path)
        self.training = training
        if training and cfg.crop_starts == "windows" and not self.crops_as_windows:
            raise ConfigError(
                f"dataset.crop_starts=windows, but {type(self).__name__} cuts its training items in its own way; leave "
                f"crop_starts out"
            )
        self.seed = seed
        self.epoch = 1
        self.draw = (
            0  # how often the item at hand was drawn before in this epoch, where items are drawn with replacement
        )
        self.label_file: LabelFile | None = None  # a dataset that has another table of labels says so in what is below
        self.with_owners = False  # batches also hold `owner` and maybe `record`: what belongs together

    @classmethod
    def find(cls, cfg: DatasetConfig, task: BaseConfig, split: str) -> Path:
        """Where a split lies: the `path` to build it with.

        Args:
            task: the section with `data`, the folder of the manifests.
        Raises: ConfigError naming the manifest that is missing.
        """
        if is_url(task.data):
            return fetched_manifest(f"{task.data.rstrip('/')}/{split}{cls.suffix}")
        path = resolve_input(task.data) / f"{split}{cls.suffix}"
        if not path.is_file():
            raise ConfigError(missing_manifest(path, split))
        return path

    @property
    def sizes(self) -> np.ndarray:
        """[items] int64, samples of every item: what batches are ordered and cut by."""
        raise TypeError(f"{type(self).__name__} must define sizes")

    @property
    def longest(self) -> int | None:
        """Samples to which a batch crops longer items; None: to whatever length its items have."""
        return None

    @property
    def crop_samples(self) -> int | None:
        """Samples of a training crop, which windows have as well unless the recipe says otherwise; None: unknown."""
        return self.longest

    @property
    def cutting(self) -> Cutting | None:
        """How an evaluation cuts items into windows; None: every item is one window, as in training.

        Raises: ConfigError when windows are asked for and nothing says how long they are.
        """
        cfg = self.cfg
        if cfg.window_stride is None and cfg.window_count is None:
            return None
        if cfg.window_stride is not None and cfg.window_count is not None:
            raise ConfigError(
                f"dataset.window_stride={cfg.window_stride} and dataset.window_count={cfg.window_count} both say how "
                f"items become windows; set one of them to null"
            )
        samples = cfg.window_length or self.crop_samples
        if samples is None:
            raise ConfigError(
                "items are to be cut into windows, but nothing says how long these are: set dataset.window_length "
                "(samples), or the length of training crops (task.max_sample_size)"
            )
        return Cutting(samples, cfg.window_stride, cfg.window_count, cfg.window_rule)

    @property
    def varies(self) -> str | None:
        """Why an item is not the same whenever it is read, None where it is; a training crop that begins where a window
        does (`drawn_window`) counts as the same."""
        return f"{type(self).__name__} does not say that its items never change"

    def drawn_window(self, index: int) -> int:
        """Which of an item's windows is its training crop in this epoch, where crops begin as windows do."""
        if self.cutting is None:
            return 0
        windows = len(self.cutting.starts(int(self.sizes[index])))
        return int(self.rng(index, CROP).integers(windows))

    def as_evaluated(self) -> "BaseDataset":
        """A training split as an evaluation reads it: whole items, nothing drawn; what it holds stays the same."""
        return type(self)(self.cfg, self.path, training=False, seed=self.seed)

    def digest(self) -> str | None:
        """Changes with everything that the signals of its items depend on; None where that is not known."""
        return None

    def __len__(self) -> int:
        return len(self.sizes)

    def fetch(self, indices: Sequence[int]) -> None:
        """Called before the items of a batch are asked for, so that what lies on a server comes at once."""
        return

    def __getitem__(self, index: int) -> dict[str, Any]:
        raise TypeError(f"{type(self).__name__} must define __getitem__(index)")

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Items -> {"net_input": {"source": [batch, leads, samples], ...}, "id": [batch], ...}; [] -> {}."""
        raise TypeError(f"{type(self).__name__} must define collate(items)")

    def batches(self, **options: Any) -> BatchIterator:
        """The batches of this split, with the options of `BatchIterator`, of which `shuffle` is True to train on it.

        A dataset that draws its items in another way names its iterator here: `WeightedIterator(self, ..., **options)`.
        """
        return BatchIterator(self, **options)

    def input_contract(self) -> SignalContract | None:
        """The steps from a raw record to this dataset's `source`, which the trained model keeps; None when unknown."""
        return None

    def records(self) -> int:
        """How many recordings the items come from; the number of items where that is not told."""
        return len(self)

    def set_epoch(self, epoch: int) -> None:
        """Called before an epoch's first item, in every loading process."""
        self.epoch = epoch

    def rng(self, index: int, stream: int = 0) -> np.random.Generator:
        """A generator for one item, keyed by (seed, epoch, index, draw, stream); streams (< 2**32) are independent."""
        # Drawing counts the first word up, so it starts at 0: no two items, streams or epochs share a number.
        return keyed((self.seed, 0x5EED), (0, stream + (self.draw << 32), index, self.epoch))

    @property
    def labels(self) -> list[str] | None:
        """Label names in the order of the columns of `label`, None when there are no labels or no names."""
        return None if self.label_file is None else self.label_file.names

    @property
    def label_source(self) -> Path:
        """The file that the labels come from, for messages."""
        return self.path if self.label_file is None else self.label_file.path

    @property
    def num_labels(self) -> int | None:
        """Columns of `label`, None without labels."""
        return None if self.label_file is None else self.label_file.num_labels

    def name_of(self, index: int) -> str:
        """What the manifest calls an item: its file."""
        return str(index)

    def known_labels(self) -> np.ndarray | None:
        """[labels] how many known values each column of the label table has; None where there is no table."""
        return None if self.label_file is None else self.label_file.known()

    def labels_that_are(self, wrong: Test) -> np.ndarray | None:
        """[labels] a value of each column of the label table that is `wrong`, NaN without one; None without a table."""
        return None if self.label_file is None else self.label_file.values_that_are(wrong)

    def label_digests(self) -> dict[str, str] | None:
        """label -> a digest of its column of the label table (label_file.column_digests); None without a table."""
        return None if self.label_file is None else self.label_file.digests()

    def select_labels(self, columns: Sequence[int]) -> None:
        """From now on `label` and `labels` hold these columns, in this order: a model's labels, matched by name."""
        if self.label_file is not None:
            self.label_file = self.label_file.select(columns)
            return
        raise ConfigError(
            f"the labels of {self.path} stand in another order than the model's, and {type(self).__name__} cannot "
            f"reorder them; define its select_labels(columns), or give the labels in the model's order"
        )


def missing_manifest(path: Path, split: str) -> str:
    """The message about a manifest that is not there: what is, and what to type."""
    if not path.parent.is_dir():
        return f"task.data={path.parent} is not a folder; set task.data to the folder that holds {path.name}"
    there = sorted(item.name for item in path.parent.glob(f"*{path.suffix}"))[:12]
    found = ", ".join(there) or f"no {path.suffix} file"
    return (
        f"{path} does not exist (found there: {found}). Name the manifests with dataset.train_subset and "
        f"dataset.valid_subset, or make them with `ecg-preprocess manifest`"
    )
