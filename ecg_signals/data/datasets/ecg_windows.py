"""Records, or segments longer than what a model takes: filtered and cut to windows as they are loaded."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ecg_signals.config import ConfigError, option
from ecg_signals.data.collation import Cropping, grouped_windows
from ecg_signals.data.datasets.base import CROP
from ecg_signals.data.datasets.ecg_file import EcgFileConfig, EcgFileDataset
from ecg_signals.data.input_contract import contract_of_segments
from ecg_signals.data.segment import Segment
from ecg_signals.registry import register_dataset
from ecg_signals.signal.contract import PAD, WINDOW, SignalContract, padded
from ecg_signals.signal.steps.base import Step, make_step
from ecg_signals.signal.windows import centre_start, random_start, stepped_starts

PLACE = 1 << 18  # random stream of an item: where its window begins


@dataclass
class EcgWindowsConfig(EcgFileConfig):
    crop_samples: int = option(2250, "samples of a training window at task.sample_rate", least=1, ours=True)
    train_crop: str = option(
        "random", "where a training window lies; without window_count and window_stride others lie in the center",
        choices=("random", "center"), ours=True,
    )  # fmt: skip
    window_spread: str = option(
        "even",
        "window_count windows reach to the last sample, or go in equal steps rounded down as published",
        choices=("even", "published"),
        ours=True,
    )
    high_pass: float | None = option(0.67, "Hz below which a Butterworth filter removes everything", above=0, ours=True)
    low_pass: float | None = option(40.0, "Hz above which a Butterworth filter removes everything", above=0, ours=True)
    filter_order: int = option(5, "order of one pass of these filters, which run forwards and backwards", least=1,
                               most=10, ours=True)  # fmt: skip
    filter_scope: str = option(
        "record",
        "filter the record once and cut it then, or every window by itself as published",
        choices=("record", "window"),
        ours=True,
    )
    standardise_windows: str = option(
        "jointly",
        "mean 0 and deviation 1 of a window, all leads together or each lead",
        choices=("jointly", "per_lead", "none"),
        ours=True,
    )
    steps: list[Any] | None = option(
        None, "all steps of an input contract (`ecg-list step`), in place of resampling, filters and scale", ours=True
    )


def window_steps(cfg: EcgWindowsConfig) -> list[dict[str, Any]]:
    """From a signal of any rate to a window, as steps of an input contract."""
    if cfg.steps is not None:
        if not all(isinstance(step, Mapping) for step in cfg.steps):
            raise ConfigError(f"dataset.steps={cfg.steps}: give steps as [{{name: resample}}, ...] (`ecg-list step`)")
        steps = [dict(step) for step in cfg.steps]
        return steps if {"name": WINDOW} in steps else [*steps, {"name": WINDOW}]
    filters: list[dict[str, Any]] = [
        {"name": name, "cutoff": cutoff, "order": cfg.filter_order}
        for name, cutoff in (("high_pass", cfg.high_pass), ("low_pass", cfg.low_pass))
        if cutoff is not None
    ]
    cut: list[dict[str, Any]] = [{"name": WINDOW}]
    scaled = {"name": "standardise", "jointly": cfg.standardise_windows == "jointly"}
    return [
        {"name": "resample", "method": "fourier"},
        *(filters + cut if cfg.filter_scope == "record" else cut + filters),
        *([scaled] if cfg.standardise_windows != "none" else []),
    ]


@register_dataset("ecg_windows", dataclass=EcgWindowsConfig)
class EcgWindowsDataset(EcgFileDataset):
    """One item per manifest row: {"id", "source" [leads, crop_samples], "label" [labels] if known}.

    Files may have any rate; they are brought to `task.sample_rate` by Fourier resampling. Training augments after all
    else. Where an evaluation cuts items into windows (`window_count`, `window_stride`), `source` holds them, [windows,
    leads, samples], since every window is standardised by itself; a batch is [items, windows, leads, samples], and
    windows that an item has not are padding throughout.

    Raises: ConfigError for a record shorter than a window; `task.enable_padding=true` fills it up with zeros.
    """

    one_rate = False
    cfg: EcgWindowsConfig

    def __init__(self, cfg: EcgWindowsConfig, path: str | Path, *, training: bool = False, seed: int = 1) -> None:
        super().__init__(cfg, path, training=training, seed=seed)
        steps = window_steps(cfg)
        cut = steps.index({"name": WINDOW})
        self.before, self.after = [[PAD if step["name"] == PAD else make_step(step) for step in part]
                                   for part in (steps[:cut], steps[cut + 1 :])]  # fmt: skip
        buckets = cfg.num_batch_buckets or int(cfg.enable_padding)  # one: all batches have the length of a window
        self.cropping = Cropping(self.sizes, cfg.enable_padding, cfg.max_sample_size, buckets)

    @property
    def sizes(self) -> np.ndarray:
        return np.broadcast_to(np.int64(self.size), len(self.manifest.samples))

    @property
    def crop_samples(self) -> int:
        return self.cfg.crop_samples

    @property
    def size(self) -> int:
        """Samples of a window."""
        return self.cutting.samples if self.whole and self.cutting else self.crop_samples

    @property
    def rate(self) -> float:
        """Hz of the windows. Raises: ConfigError when neither the recipe nor the first file says."""
        if not self.sample_rate:
            raise ConfigError(f"{self.first.path} states no sample rate; set task.sample_rate=HZ")
        return float(self.sample_rate)

    def view(self, segment: Segment, index: int, stream: int = 0) -> dict[str, Any]:
        leads = self.leads_of(segment, index, stream)
        signal, rate = run(self.before, self.preparation(segment, leads), segment.rate or self.rate, self.rate)
        size = self.size
        if signal.shape[-1] < size and not self.cfg.enable_padding:
            raise ConfigError(
                f"{segment.path} has {signal.shape[-1]} samples at {self.rate:g} Hz, less than a window of {size}. Set "
                f"task.enable_padding=true to fill it up with zeros, choose a smaller dataset.crop_samples, or leave "
                f"it out"
            )
        pieces = [signal[:, at : at + size] for at in self.starts(signal.shape[-1], index)]
        windows = [run(self.after, piece, rate, self.rate, size)[0].astype(np.float32) for piece in pieces]
        views = [self.augmented(window, leads, index, stream) for window in windows]
        return {key: torch.stack([view[key] for view in views]) for key in views[0]} if self.whole else views[0]

    def starts(self, length: int, index: int) -> list[int]:
        """First samples of the windows of an item of `length` samples."""
        cutting, size = self.cutting, self.size
        if self.whole and cutting is not None:
            published = cutting.count is not None and self.cfg.window_spread == "published"
            return stepped_starts(length, size, cutting.count or 1) if published else cutting.starts(length)
        if self.training and self.cfg.crop_starts == "windows" and cutting is not None:
            starts = cutting.starts(length)
            return [starts[int(self.rng(index, CROP).integers(len(starts)))]]
        if self.training and self.cfg.train_crop == "random":
            return [random_start(length, size, self.rng(index, PLACE))]
        return [centre_start(length, size)]

    @property
    def varies(self) -> str | None:
        return "how many windows an item has is known when its file is read"

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        if not items or not self.whole:
            return super().collate(items)
        flat = self.cropping([{"source": window} for item in items for window in item["source"]], lambda *_: 0)
        net_input = grouped_windows(flat["net_input"], [len(item["source"]) for item in items])
        return {**self.columns(items), "net_input": net_input}

    def input_contract(self) -> SignalContract | None:
        """What made the segments, and then what this dataset does."""
        made = contract_of_segments(self)
        return None if made is None else dataclasses.replace(made, steps=self.earlier_steps(made) + self.own_steps())

    def earlier_steps(self, made: SignalContract) -> list[dict[str, Any]]:
        """From a raw record to the stored segment that is read."""
        kept = [step for step in made.steps if step["name"] != WINDOW]
        return [step | {"to": float(self.first.rate or self.rate)} if step["name"] == "resample" else step
                for step in kept]  # fmt: skip

    def own_steps(self) -> list[dict[str, Any]]:
        return window_steps(self.cfg)


def run(
    steps: Sequence[Step | str], signal: np.ndarray, rate: float, wanted: float, size: int = 0
) -> tuple[np.ndarray, float]:
    """`signal` [leads, samples] at `rate` Hz behind all `steps`, and its new rate; mark "pad" fills it up to `size`."""
    for step in steps:
        signal, rate = step(signal, rate, wanted) if isinstance(step, Step) else (padded(signal, size), rate)
    return signal, rate
