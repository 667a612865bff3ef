"""What a fixed encoder answers to a split that does not change, computed once and kept in memory or in files."""

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ecg_signals.config import ConfigError
from ecg_signals.data.batching import BatchIterator
from ecg_signals.data.datasets.base import BaseDataset
from ecg_signals.evaluation.run import Answer, Rows, run
from ecg_signals.evaluation.store import shared_array
from ecg_signals.evaluation.windows import FEWEST, cut, portions
from ecg_signals.files import replacing, writing
from ecg_signals.models.heads.finetuned import EncoderWithHead
from ecg_signals.runtime.batch import to_device
from ecg_signals.runtime.collectives import barrier, rank, world_size
from ecg_signals.signal.windows import Cutting

logger = logging.getLogger(__name__)

NOTE = "features.json"  # written last: a folder without it is not complete
SIGNALS = ("net_input", "original", "tracks")  # of a batch, which features stand for


class Features(Dataset[dict[str, Any]]):
    """A split whose items hold what the head reads, in place of signals; all else is asked of the split itself.

    Args:
        dataset: the split. Where it trains, an item is the window that it draws, else all its windows.
        arrays: name -> [windows of all items, ...], as `model.read_by_head` gives it.
        columns: name -> [items, ...], what batches hold besides signals.
    """

    def __init__(
        self, dataset: BaseDataset, arrays: Mapping[str, np.ndarray], columns: Mapping[str, np.ndarray]
    ) -> None:
        self.dataset, self.arrays, self.columns = dataset, arrays, columns
        self.counts = windows_of(dataset)
        self.first = np.cumsum(self.counts) - self.counts
        self.epoch, self.draw, self.with_owners = dataset.epoch, 0, True

    def __getattr__(self, name: str) -> Any:
        if name == "dataset":
            raise AttributeError(name)  # while it is unpickled
        return getattr(self.dataset, name)

    def __len__(self) -> int:
        return len(self.dataset)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self.dataset.set_epoch(epoch)

    def __getitem__(self, index: int) -> dict[str, Any]:
        self.dataset.draw = self.draw
        chosen = self.dataset.drawn_window(index) if self.dataset.training else slice(None)
        rows = self.first[index] + np.arange(self.counts[index])[chosen]
        return {"id": index, "rows": rows.reshape(-1)}

    def collate(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        """`net_input` holds `encoded` [windows, ...], and `counts`, the windows of every item, where items are cut."""
        if not items:
            return {}
        rows, ids = np.concatenate([item["rows"] for item in items]), np.array([item["id"] for item in items])
        net_input: dict[str, Any] = {"encoded": {key: _taken(array, rows) for key, array in self.arrays.items()}}
        if not self.dataset.training and self.dataset.cutting is not None:
            net_input["counts"] = torch.tensor([len(item["rows"]) for item in items])
        return {"net_input": net_input, **{key: _taken(column, ids) for key, column in self.columns.items()}}

    def batches(self, **options: Any) -> BatchIterator:
        """As the split's own; nothing is read that a loading process could do earlier."""
        return type(self.dataset).batches(self, **{**options, "num_workers": 0})  # type: ignore[arg-type]


def _taken(array: np.ndarray, rows: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array[rows]))


def windows_of(dataset: BaseDataset) -> np.ndarray:
    """[items] into how many windows every item is cut."""
    cutting = dataset.cutting
    if cutting is None:
        return np.ones(len(dataset), dtype=np.int64)
    lengths, which = np.unique(np.asarray(dataset.sizes), return_inverse=True)
    return np.array([len(cutting.starts(int(length))) for length in lengths], dtype=np.int64)[which]


def compute_features(
    model: EncoderWithHead,
    whole: BatchIterator,
    dataset: BaseDataset,
    device: torch.device,
    autocast: Callable[[], Any],
    folder: Path,
    most_in_memory: float,
) -> Features:
    """Every window of a split through the encoder, unless `folder` holds what came of it before.

    Args:
        whole: its batches as an evaluation reads them, in manifest order.
        dataset: the split that takes its features from them.
        folder: for features that need more than `most_in_memory` bytes, or are shared by several ranks; its name stands
            for all that they depend on.
    """
    began = time.monotonic()
    found = _stored(folder)
    if found is not None:
        logger.info("the encoder never trains: its features of %s are those in %s", dataset.path, folder)
        return Features(dataset, *found)
    whole.dataset.with_owners = True
    store = _Store(windows_of(whole.dataset), folder, most_in_memory)
    read = partial(_read, model, whole.dataset.cutting)
    with torch.no_grad(), autocast():
        model.eval()
        first = {key: value[:1] for key, value in whole.first_batch()["net_input"].items()}
        store.make(read(to_device({"net_input": first}, device)))  # on every rank, also one without a batch
    run(model, whole.batches(1), device, [store], call=read, autocast=autocast)
    features = Features(dataset, *store.finish())
    logger.info(
        "the encoder never trains: its features of %d items in %d windows of %s were computed once, %.1f s, %.0f MB %s",
        len(dataset), int(features.counts.sum()), dataset.path, time.monotonic() - began, store.bytes / 1e6,
        f"in {folder}" if store.in_files else "in memory",
    )  # fmt: skip
    return features


Found = tuple[dict[str, np.ndarray], dict[str, np.ndarray]]  # arrays and columns


def _stored(folder: Path) -> Found | None:
    """Arrays and columns of a complete folder."""
    try:
        note = json.loads((folder / NOTE).read_bytes())
        return tuple({key: np.load(folder / f"{key}.npy", mmap_mode="r") for key in keys} for keys in note)  # type: ignore[return-value]
    except (OSError, ValueError):
        return None


def _read(model: EncoderWithHead, cutting: Cutting | None, batch: dict[str, Any]) -> dict[str, Tensor]:
    """What the model's head reads of every window of a batch."""
    source, mask = batch["net_input"]["source"], batch["net_input"].get("padding_mask")
    size = max(len(source), FEWEST)
    if cutting is not None:
        source, mask, _ = cut(source, mask, cutting)
    read = [model.read_by_head(model.encode(*part)) for part in portions(source, mask, size)]
    joined = {key: torch.cat([part[key] for part in read]) for key in read[0]}
    return {key: value.float() if value.is_floating_point() else value for key, value in joined.items()}


class _Store:
    """Consumes what is read of every batch."""

    def __init__(self, counts: np.ndarray, folder: Path, most: float) -> None:
        self.counts, self.first, self.folder, self.most = counts, np.cumsum(counts) - counts, folder, most
        self.arrays: dict[str, np.ndarray] = {}
        self.columns = Rows()

    def make(self, output: Mapping[str, Tensor]) -> None:
        """One array per name, for rows as a first `output` has them; with several ranks, all of them call it."""
        rows = int(self.counts.sum())
        made = {key: ((rows, *value.shape[1:]), value[:0].cpu().numpy().dtype) for key, value in output.items()}
        self.bytes = sum(dtype.itemsize * math.prod(shape) for shape, dtype in made.values())
        self.in_files = self.bytes > self.most or world_size() > 1
        if not self.in_files:
            self.arrays = {key: np.empty(shape, dtype=dtype) for key, (shape, dtype) in made.items()}
            return
        if rank() == 0:
            with writing(self.folder):
                (self.folder / NOTE).unlink(missing_ok=True)
        self.arrays = {key: shared_array(self.folder / f"{key}.npy", *kind) for key, kind in made.items()}

    def __call__(self, answer: Answer) -> None:
        ids = answer.batch["id"].reshape(-1).cpu()
        rows = np.concatenate([np.arange(self.counts[item]) + self.first[item] for item in ids.tolist()])
        for key, value in answer.output.items():
            if len(value) != len(rows):
                raise ConfigError(
                    f"items have {len(value)} windows, where the manifest's samples make {len(rows)}: make the "
                    f"manifest again (ecg-preprocess manifest), or set dataset.cache_features=false"
                )
            self.arrays[key][rows] = value.cpu().numpy()
        kept = {key: value for key, value in answer.batch.items() if key not in SIGNALS and isinstance(value, Tensor)}
        self.columns.add(ids, kept)

    def finish(self) -> Found:
        """The arrays, those in files read-only and complete on every rank; and the columns."""
        columns = self.columns.gathered()
        if not self.in_files:
            return self.arrays, columns
        for array in self.arrays.values():
            array.flush()  # type: ignore[attr-defined]
        barrier()
        if rank() == 0:
            for key, column in columns.items():
                with replacing(self.folder / f"{key}.npy") as partial, partial.open("wb") as file:
                    np.save(file, column)
            with replacing(self.folder / NOTE) as partial:
                partial.write_text(json.dumps([list(self.arrays), list(columns)]))
        barrier()
        return {key: np.load(self.folder / f"{key}.npy", mmap_mode="r") for key in self.arrays}, columns
