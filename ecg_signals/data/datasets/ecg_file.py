"""Segments, one file each: the usual dataset, and what the other ECG datasets extend."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ecg_signals.config import ConfigError, option, resolve_input
from ecg_signals.data.collation import collate_signals, cut, padding_mask, target_length
from ecg_signals.data.datasets.base import BaseDataset
from ecg_signals.data.input_contract import contract_of_segments
from ecg_signals.data.label_file import LabelFile
from ecg_signals.data.lead_selection import LeadSelection, pad_leads, take_leads
from ecg_signals.data.manifest import Manifest
from ecg_signals.data.signal_file import SignalFile
from ecg_signals.data.store import SignalReader
from ecg_signals.data.transforms.pipeline import build_pipeline
from ecg_signals.limits import size_of
from ecg_signals.registry import register_dataset
from ecg_signals.sections import DatasetConfig
from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.leads import LEADS

FEW = 1000  # items whose files are opened to count their recordings
CROP, BUCKET = 1 << 16, 1 << 17  # random streams of an item; the numbers below belong to its signals' augmentations


@dataclass
class EcgFileConfig(DatasetConfig):
    options_of = ("transform", "task")

    leads_to_load: list[str | int] | str | None = option(
        None, "leads by name or index, such as [I, II, 6]; None: all", section="task"
    )
    leads_bucket: list[str | int] | str | None = option(
        None, "leads of which every item gets one at random, put last", section="task"
    )
    sample_rate: int | None = option(None, "Hz that every file must have; None: the first file's", section="task")
    filter: bool = option(False, "remove baseline wander and 50 Hz hum from every lead", section="task")
    normalize: bool = option(False, "subtract and divide by the numbers in mean_path and std_path", section="task")
    mean_path: str | None = option(None, "text file with one mean per lead, in the standard order", section="task")
    std_path: str | None = option(
        None,
        "text file with one standard deviation per lead, in the standard order",
        section="task"
    )
    enable_padding: bool = option(
        False,
        "pad to the longest item and give a padding mask, instead of cropping to the shortest",
        section="task"
    )
    enable_padding_leads: bool = option(
        False,
        "zeros in place of leads that are not loaded, so that there are always 12",
        section="task"
    )
    max_sample_size: int | None = option(None, "crop longer items to this many samples, at random", section="task")
    min_sample_size: int | None = option(None, "leave out manifest rows with fewer samples", section="task")
    num_batch_buckets: int = option(
        0,
        "pad batches to one of this many lengths, so that few shapes occur; 0 off",
        section="task"
    )
    perturbation_mode: list[str] | None = option(None, "augmentations of training items, in order", section="task")
    p: list[float] = option([1.0], "probability of every augmentation, or one for each", section="task")
    keep_original: bool = option(
        False, "give batches the signals before augmentation as `original`; published: true, read by nothing", ours=True
    )
    label_file: str | None = option(
        None, "y.npy, one row of labels per record idx; None: the files' own `label`", section="task"
    )


@register_dataset("ecg_file", dataclass=EcgFileConfig)
class EcgFileDataset(BaseDataset):
    """One item per manifest row: {"id", "source" [leads, samples], "label" [labels] if known}.

    `id` is the row number among the rows that are long enough. With `keep_original`, `original` is the signal before
    augmentation.
    """

    kind = "plain"  # of manifest
    cfg: EcgFileConfig

    def __init__(self, cfg: EcgFileConfig, path: str | Path, *, training: bool = False, seed: int = 1) -> None:
        super().__init__(cfg, path, training=training, seed=seed)
        self.manifest = Manifest(path, self.kind, cfg.min_sample_size)
        self.reader = SignalReader(self.manifest.root)
        self.selection = LeadSelection(cfg.leads_to_load, cfg.leads_bucket)
        self.statistics = _statistics(cfg) if cfg.normalize else None
        self.label_file = LabelFile(cfg.label_file) if cfg.label_file else None
        self.buckets = _buckets(self.manifest.samples, cfg) if cfg.num_batch_buckets else None
        self.first = self.read_first()
        self.sample_rate = cfg.sample_rate if (cfg.sample_rate or 0) > 0 else self.first.sample_rate
        self.pipeline = build_pipeline(cfg, self.sample_rate) if training else None

    def read_first(self) -> SignalFile:
        """The first file, which says what all files must agree in. Without its signal, only its shape is kept."""
        first = self.open(self.manifest.addresses(0)[0])
        first.signal = np.empty((len(first.signal), 0), dtype=np.float32)
        return first

    @property
    def sizes(self) -> np.ndarray:
        return self.manifest.samples

    @property
    def labels(self) -> list[str] | None:
        return None if self.label_file is None else self.label_file.names

    @property
    def num_labels(self) -> int | None:
        if self.label_file is not None:
            return self.label_file.num_labels
        return None if self.first.label is None else len(self.first.label)

    @property
    def label_source(self) -> Path:
        return self.path if self.label_file is None else self.label_file.path

    def known_labels(self) -> np.ndarray | None:
        return None if self.label_file is None else self.label_file.known()

    def label_digests(self) -> dict[str, str] | None:
        return None if self.label_file is None else self.label_file.digests()

    def select_labels(self, columns: Sequence[int]) -> None:
        assert self.label_file is not None  # without one there are no names to match
        self.label_file = self.label_file.select(columns)

    def records(self) -> int:
        """Recordings by the files' `idx`, where there are few enough files to open them all."""
        if len(self) > FEW:
            return len(self)
        try:
            numbers = [self.open(self.manifest.addresses(row)[0]).idx for row in range(len(self))]
        except ConfigError:
            return len(self)  # a damaged file is named when training reads it
        return len(self) if None in numbers else len(set(numbers))

    def input_contract(self) -> SignalContract | None:
        return contract_of_segments(self)

    def __getitem__(self, index: int) -> dict[str, Any]:
        stored = self.read(self.manifest.addresses(index)[0])
        item = {"id": index, **self.signals(stored, index)}
        if self.with_owners:
            item["owner"] = owner_of(stored, index)
        label = self.label(stored)
        return item if label is None else {**item, "label": label}

    def name_of(self, index: int) -> str:
        return self.manifest.addresses(index)[0]

    def open(self, address: str) -> SignalFile:
        """What a manifest's address names, unchecked."""
        try:
            return self.reader.read(address)
        except ConfigError as error:
            raise ConfigError(f"{error} [named by {self.manifest.path}]") from None

    def read(self, address: str) -> SignalFile:
        """One file. Raises: ConfigError when its sample rate or number of leads is not the others'."""
        stored = self.open(address)
        if stored.sample_rate != self.sample_rate and stored.sample_rate is not None:
            raise ConfigError(self._wrong_rate(stored))
        if len(stored.signal) != len(self.first.signal) and self.selection.every_row:
            raise ConfigError(
                f"{stored.path} holds {len(stored.signal)} leads, but {self.first.path} holds {len(self.first.signal)}"
                f"; set task.leads_to_load to leads that all files have, or make the manifest without the odd ones"
            )
        return stored

    def _wrong_rate(self, stored: SignalFile) -> str:
        found, wanted = _short(stored.sample_rate), _short(self.sample_rate)
        reason = (
            f"task.sample_rate is {wanted} Hz"
            if self.cfg.sample_rate
            else f"the first file, {self.first.path}, holds {wanted} Hz"
        )
        remedy = f" or set task.sample_rate={found}" if self.cfg.sample_rate else ""
        advice = f"Resample the files (ecg-preprocess ... sample_rate={wanted}){remedy}"
        return f"{stored.path} holds {found} Hz, but {reason}. {advice}"

    def signals(self, stored: SignalFile, index: int, stream: int = 0) -> dict[str, Tensor]:
        """`source` and, with `keep_original`, `original`: float32 [leads, samples]."""
        leads = self.leads_of(stored, index, stream)
        return self.augmented(self.prepared(stored, leads), leads, index, stream)

    def leads_of(self, stored: SignalFile, index: int, stream: int = 0) -> Sequence[int] | None:
        """The leads that an item takes, by standard number; None for every row of the file."""
        return self.selection.draw(self.rng(index, BUCKET + stream) if self.selection.bucket else None)

    def augmented(
        self, signal: np.ndarray, leads: Sequence[int] | None, index: int, stream: int = 0
    ) -> dict[str, Tensor]:
        """What `signals` returns, from a prepared signal [leads, samples]."""
        found = {"source": signal}
        if self.pipeline is not None:
            numbers = range(len(signal)) if leads is None else leads
            found["source"] = self.pipeline(signal, self.rng(index, stream), numbers)
        if self.pipeline is not None and self.cfg.keep_original:
            found["original"] = signal
        if self.cfg.enable_padding_leads:
            found = {key: pad_leads(value, leads) for key, value in found.items()}
        return {key: torch.from_numpy(value) for key, value in found.items()}

    def prepared(self, stored: SignalFile, leads: Sequence[int] | None) -> np.ndarray:
        """The chosen leads, filtered and normalised as the options say: float32 [leads, samples].

        Raises: ConfigError naming a file whose chosen leads hold NaN or infinite values.
        """
        signal = take_leads(stored.signal, leads, stored.path)
        if not np.isfinite(signal).all():
            _check_finite(signal, leads, stored.path)
        if self.cfg.filter:
            signal = self._cleaned(signal)
        if self.statistics is not None:
            mean, std = (_of_leads(values, leads, len(signal)) for values in self.statistics)
            signal = (signal - mean) / std
        return signal

    def _cleaned(self, signal: np.ndarray) -> np.ndarray:
        from ecg_signals.signal.filters import clean

        if not self.sample_rate:
            raise ConfigError(
                "task.filter=true needs the sample rate, which the files do not hold; set task.sample_rate=HZ"
            )
        return clean(signal, self.sample_rate).astype(np.float32)

    def label(self, stored: SignalFile) -> Tensor | None:
        """float32 [labels] from the label file, else from the signal file when the first one has a label."""
        if self.label_file is not None:
            return torch.from_numpy(self.label_file.row(stored.idx, stored.path))
        if self.first.label is None:
            return None
        if stored.label is None or len(stored.label) != len(self.first.label):
            found = "no label" if stored.label is None else f"{len(stored.label)} labels"
            raise ConfigError(
                f"{stored.path} holds {found}, but {self.first.path} holds {len(self.first.label)}; set "
                f"task.label_file to a table of labels for all records"
            )
        return torch.from_numpy(stored.label.astype(np.float32))

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        if not items:
            return {}
        batch: dict[str, Any] = {"id": torch.tensor([item["id"] for item in items])}
        batch.update(self.collate_sources(items))
        if "label" in items[0]:
            batch["label"] = torch.stack([item["label"] for item in items])
        if "owner" in items[0]:
            batch["owner"] = torch.tensor([item["owner"] for item in items])
        return batch

    def collate_sources(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """`net_input` and, where items have it, `original`, cropped alike; crops are drawn per item."""
        sources = [item["source"] for item in items]
        lengths = [source.shape[-1] for source in sources]
        target = target_length(lengths, padding=self.cfg.enable_padding, max_samples=self.cfg.max_sample_size)
        if self.buckets is not None:
            target = int(self.buckets[min(int(np.searchsorted(self.buckets, target)), len(self.buckets) - 1)])
        source, starts, filled = collate_signals(
            sources, target, lambda number, surplus: self._crop(items[number], surplus)
        )
        net_input = {"source": source}
        if self.cfg.enable_padding:
            net_input["padding_mask"] = padding_mask(filled, source.shape[1], target)
        batch: dict[str, Any] = {"net_input": net_input}
        if "original" in items[0]:
            batch["original"] = cut([item["original"] for item in items], starts, target)
        return batch

    def _crop(self, item: dict[str, Any], surplus: int) -> int:
        return int(self.rng(item["id"], CROP + item.get("view", 0)).integers(surplus + 1))


def owner_of(stored: SignalFile, index: int) -> int:
    """The patient of a segment; where it is not known a negative number of its record, else of the item itself."""
    if stored.patient_id is not None:
        return stored.patient_id
    return -1 - (index if stored.idx is None else stored.idx)


def _check_finite(signal: np.ndarray, leads: Sequence[int] | None, path: str) -> None:
    bad = np.flatnonzero(~np.isfinite(signal).all(axis=1)).tolist()
    if bad:
        numbers = [row if leads is None else leads[row] for row in bad]
        names = ", ".join(LEADS[number] if number < len(LEADS) else str(number) for number in numbers)
        raise ConfigError(
            f"{path} holds NaN or infinite values in lead {names}. Leave such records out (ecg-preprocess split "
            f"filter_cols=nan_any), or choose other leads with task.leads_to_load"
        )


def _of_leads(values: np.ndarray, leads: Sequence[int] | None, rows: int) -> np.ndarray:
    """[leads, 1]: the statistic of every row, found by its standard number."""
    wanted = list(range(rows) if leads is None else leads)
    if max(wanted) >= len(values):
        raise ConfigError(
            f"task.mean_path and task.std_path hold {len(values)} numbers, but lead {max(wanted)} is loaded; expected "
            f"one number for every lead, in the standard order"
        )
    return values[wanted, None]


def _short(number: float | None) -> str:
    return f"{number:g}" if number is not None else "unknown"


def _buckets(samples: np.ndarray, cfg: EcgFileConfig) -> np.ndarray:
    """The lengths to which batches are padded: quantiles of the items' lengths, ascending."""
    if not cfg.enable_padding:
        raise ConfigError("task.num_batch_buckets pads batches to few lengths; it needs task.enable_padding=true")
    lengths = samples if cfg.max_sample_size is None else np.minimum(samples, cfg.max_sample_size)
    shares = np.linspace(0, 100, cfg.num_batch_buckets + 1)[1:]
    return np.unique(np.percentile(lengths, shares, method="lower").astype(np.int64))


def _statistics(cfg: EcgFileConfig) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation per lead, float32 [leads]."""
    values = []
    for key in ("mean_path", "std_path"):
        path = getattr(cfg, key)
        if path is None:
            raise ConfigError(f"task.normalize=true needs task.{key}=FILE, a text file with one number per lead")
        try:
            size_of(resolve_input(path))  # an ordinary file, or an error
            values.append(np.loadtxt(resolve_input(path), dtype=np.float32).reshape(-1))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"task.{key}={path} is not a text file of numbers ({error}); expected one number per lead"
            ) from None
    if len(values[0]) != len(values[1]) or not (values[1] > 0).all():
        found = f"task.mean_path holds {len(values[0])} numbers and task.std_path {len(values[1])}"
        raise ConfigError(f"{found}; expected one per lead in both, the standard deviations above 0")
    return values[0], values[1]
