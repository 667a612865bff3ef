"""Outputs, embeddings and attention of a whole split, written row by row to memory-mapped arrays."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ecg_signals.config import ConfigError, resolve_input
from ecg_signals.evaluation.run import Answer
from ecg_signals.evaluation.store import shared_array
from ecg_signals.files import writing
from ecg_signals.limits import path_below
from ecg_signals.runtime.collectives import barrier, world_size

KINDS = ("output", "encoder_out", "saliency")


class Extraction:
    """Collects what `common_eval.extract` asks for: one file per kind, rows in manifest order.

    Ranks write disjoint rows of the same files, so nothing is gathered. Where items differ in length, the arrays are as
    wide as the longest makes them (`measure`); rows are filled up with zeros, and `padding_mask` says where.

    Args:
        kinds: any of output, encoder_out, saliency.
        folder: where to write; made when absent.
        subset: name of the split, part of the file names.
        rows: items in the split.
        raw: write headerless memmaps as fairseq-signals does, instead of .npy.
        uneven: items differ in length, so that rows have padding.
    Raises: ConfigError for an unknown kind, or a folder that cannot be made.
    """

    def __init__(
        self, kinds: list[str], folder: str | None, subset: str, rows: int, raw: bool = False, uneven: bool = False
    ) -> None:
        unknown = [kind for kind in kinds if kind not in KINDS]
        if unknown:
            raise ConfigError(f"common_eval.extract holds {unknown[0]!r}; it takes any of {', '.join(KINDS)}")
        if not folder:
            raise ConfigError("common_eval.extract needs common_eval.results_path=DIR, the folder to write to")
        self.folder = resolve_input(folder)
        with writing(self.folder, advice="Set common_eval.results_path to a folder that can be written"):
            self.folder.mkdir(parents=True, exist_ok=True)
        self.kinds, self.subset, self.rows, self.raw, self.uneven = kinds, subset, rows, raw, uneven
        self.arrays: dict[str, np.memmap] = {}

    def measure(self, answer: Answer) -> None:
        """Make the arrays by what was answered to the split's longest item, which has the widest rows.

        Where there are several ranks all of them call it: some may have no batch, and they make files together.
        """
        for name, value in self._wanted(answer.output, _target(answer)).items():
            self._rows(name, value)

    def __call__(self, answer: Answer) -> None:
        """Write what was answered to one batch, and beside it the labels by which a criterion judged it."""
        self.add(answer.batch, answer.output, _target(answer))

    def add(self, batch: dict[str, Any], output: Any, target: Tensor | None) -> None:
        """Write one batch's rows. `output` is the model's; `target` [batch, labels] or None."""
        ids = batch["id"].reshape(-1).cpu().numpy()
        for name, value in self._wanted(output, target).items():
            rows = self._rows(name, value)
            if name == "padding_mask":
                rows[ids] = True  # behind a batch of shorter items, too
            rows[(ids, *map(slice, value.shape[1:]))] = value.detach().cpu().numpy()

    def _wanted(self, output: Any, target: Tensor | None) -> dict[str, Tensor]:
        """What is stored of a batch, by the files' names."""
        wanted: dict[str, Tensor | None] = {}
        if "output" in self.kinds:
            wanted["outputs"] = self._need(output, "logits", "output")
            wanted["targets"] = target
        if "encoder_out" in self.kinds:
            features = self._need(output, "features", "encoder_out")
            mask = output.get("padding_mask")
            wanted["encoder_out"] = features
            wanted["padding_mask"] = _no_padding(features) if mask is None and self.uneven else mask
        if "saliency" in self.kinds:
            wanted["saliency"] = self._need(output, "saliency", "saliency")
        found = {name: value for name, value in wanted.items() if value is not None}
        return {  # numpy has no bfloat16
            name: value.float() if value.dtype == torch.bfloat16 else value for name, value in found.items()
        }

    def _need(self, output: Any, key: str, kind: str) -> Tensor:
        if output.get(key) is None:
            raise ConfigError(
                f"common_eval.extract asks for {kind}, which this model does not give (it gives {', '.join(output)})"
            )
        return output[key]

    def _rows(self, name: str, value: Tensor) -> np.memmap:
        """The array of that name, wide enough for `value`."""
        before, row = self.arrays.get(name), tuple(value.shape[1:])
        if before is not None and all(size <= there for size, there in zip(row, before.shape[1:])):
            return before
        if before is not None and world_size() > 1:
            raise ConfigError(
                f"an item of {self.subset} is wider than what its longest one gives, {list(row)} and "
                f"{list(before.shape[1:])}: extract with one process (distributed_training.distributed_world_size=1)"
            )
        shape = (self.rows, *(row if before is None else map(max, row, before.shape[1:])))
        dtype = np.dtype(str(value.dtype).removeprefix("torch."))
        array = self.arrays[name] = shared_array(self._path(name), shape, dtype, raw=self.raw)
        if before is not None:  # its file was replaced, its memory is still there
            array[...] = name == "padding_mask"
            array[tuple(map(slice, before.shape))] = before
        return array

    def close(self) -> list[Path]:
        """Flush everything; returns the files written."""
        for array in self.arrays.values():
            array.flush()
        barrier()
        return [self._path(name) for name in self.arrays]

    def _path(self, name: str) -> Path:
        return path_below(self.folder, f"{name}_{self.subset}.npy", "the subset's name")


def _target(answer: Answer) -> Tensor | None:
    target: Tensor | None = answer.batch.get("label") if answer.judged else None
    return target


def _no_padding(features: Tensor) -> Tensor:
    """[batch, frames] bool, for features [batch, frames, dim]."""
    return torch.zeros(features.shape[:2], dtype=torch.bool, device=features.device)
