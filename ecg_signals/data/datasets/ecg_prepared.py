"""Whole records as a model's input contract has prepared them up to its cut, and the contract beside them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ecg_signals.config import ConfigError
from ecg_signals.data.collation import SIGNALS, grouped_windows, padding_mask, stacked_columns
from ecg_signals.data.datasets.base import CROP
from ecg_signals.data.datasets.ecg_file import EcgFileConfig, EcgFileDataset
from ecg_signals.data.manifest import Listing
from ecg_signals.data.segment import Segment
from ecg_signals.limits import read_regular
from ecg_signals.registry import register_dataset
from ecg_signals.signal.contract import SignalContract

FILE = "contract.json"  # in the folder of the records
MOST_BYTES = 1 << 20  # of it


@dataclass
class EcgPreparedConfig(EcgFileConfig):
    """`max_sample_size` counts samples behind the contract; None: as many as its windows have."""


@register_dataset("ecg_prepared", dataclass=EcgPreparedConfig)
class EcgPreparedDataset(EcgFileDataset):
    """One item per record: {"id", "source" [leads, samples] of one window, "label" if known}, as `prepare` makes it.

    An evaluation gives all windows of an item, [windows, leads, samples], a batch [items, windows, leads, samples]. A
    record shorter than a window is filled up with zeros, which are padding.
    """

    one_rate = False
    cfg: EcgPreparedConfig

    def open_manifest(self) -> Listing:
        manifest = super().open_manifest()
        stated = read_contract(Path(manifest.root))
        self.contract = replace(stated, window_samples=self.cfg.max_sample_size or stated.window_samples)
        self.behind, self.factor = self.contract.behind_cut(), self.contract.factor
        self._sizes = manifest.samples if self.factor == 1 else manifest.samples // self.factor
        return manifest

    @property
    def sizes(self) -> np.ndarray:
        return self._sizes

    @property
    def crop_samples(self) -> int:
        return self.contract.window_samples

    def view(self, segment: Segment, index: int, stream: int = 0) -> dict[str, Any]:
        signal = self.preparation(segment, None)
        size, rate = self.contract.window_samples, float(segment.rate or 0)
        pieces = [signal[:, at * self.factor : (at + size) * self.factor] for at in self.starts(index)]
        windows = [self.contract.finished(piece, rate, self.behind).astype(np.float32) for piece in pieces]
        for window in windows:
            window[~signal.any(axis=1)] = 0  # leads that are missing
        views = [self.augmented(window, None, index, stream)["source"] for window in windows]
        return {"source": torch.stack(views) if self.whole else views[0], "filled": min(size, int(self.sizes[index]))}

    def starts(self, index: int) -> list[int]:
        """First samples of an item's windows behind the contract."""
        length = int(self.sizes[index])
        if self.whole and self.cutting is not None:
            return self.cutting.starts(length)
        if not self.training:
            return [max(0, length - self.contract.window_samples) // 2]
        if self.cfg.crop_starts == "windows" and self.cutting is not None:
            return [self.cutting.starts(length)[self.drawn_window(index)]]
        return [int(self.rng(index, CROP).integers(max(0, length - self.contract.window_samples) + 1))]

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        if not items:
            return {}
        windows = [item["source"] if self.whole else item["source"][None] for item in items]
        counts, source = [len(own) for own in windows], torch.cat(windows)
        net_input = {"source": source}
        filled = [item["filled"] for item, count in zip(items, counts) for _ in range(count)]
        if min(filled) < source.shape[-1]:
            net_input["padding_mask"] = padding_mask(filled, source.shape[1], source.shape[-1])
        net_input = grouped_windows(net_input, counts) if self.whole else net_input
        return {**stacked_columns(items, without=(*SIGNALS, "filled")), "net_input": net_input}

    def input_contract(self) -> SignalContract | None:
        return self.contract


def read_contract(folder: Path) -> SignalContract:
    """What the records of a folder were prepared by. Raises: ConfigError where it is not stated."""
    try:
        return SignalContract.from_dict(json.loads(read_regular(folder / FILE, MOST_BYTES)))
    except FileNotFoundError:
        raise ConfigError(
            f"{folder / FILE} is not there, which says how the records were prepared; dataset ecg_prepared reads "
            f"folders that ecg-eval made"
        ) from None
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"{folder / FILE} states no input contract ({error}); run ecg-eval again") from None
