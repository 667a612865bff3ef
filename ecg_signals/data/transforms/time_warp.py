"""Time runs faster here and slower there, the same in all leads; the item keeps its length.

Their names are those of Mehari and Strodthoff 2022, Self-supervised representation learning from 12-lead ECG data,
arXiv:2103.12676, where random_resized_crop with time_out was the best pair.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.data.transforms.base import Transform
from ecg_signals.data.transforms.rng import Rng, integers
from ecg_signals.registry import register_transform


class _Warp(Transform):
    """Reads the signal at other instants, between two samples on the line that joins them."""

    def __call__(self, signal: np.ndarray, rng: Rng, leads: Sequence[int]) -> np.ndarray:
        return read_at(signal, self.instants(rng, signal.shape[-1]))

    @abstractmethod
    def instants(self, rng: Rng, samples: int) -> np.ndarray:
        """[samples], not falling, 0 to samples - 1: where each sample is read."""


@dataclass
class RandomResizedCropConfig(BaseConfig):
    crop_share: tuple[float, float] = option(
        (0.5, 1.0), "smallest and largest share of an item that random_resized_crop keeps", above=0, most=1,
        rising=True, ours=True,
    )  # fmt: skip


@register_transform("random_resized_crop", dataclass=RandomResizedCropConfig)
class RandomResizedCrop(_Warp):
    """A stretch of the item, whose samples are spread over all of it at random; lines join them.

    The first one comes first and the last one last: a crop and a random local warp of time in one.
    """

    cfg: RandomResizedCropConfig

    def instants(self, rng: Rng, samples: int) -> np.ndarray:
        kept = min(samples, max(2, int(rng.uniform(*self.cfg.crop_share) * samples)))
        first = int(integers(rng, samples - kept + 1))
        return np.interp(np.arange(samples), spread(rng, kept, samples), first + np.arange(kept))


@dataclass
class DownSampleConfig(BaseConfig):
    kept_share: float = option(0.8, "share of samples that down_sample keeps", above=0, most=1, ours=True)


@register_transform("down_sample", dataclass=DownSampleConfig)
class DownSample(Transform):
    """Random samples are lost, and lines stand in their place; both ends stay."""

    cfg: DownSampleConfig

    def __call__(self, signal: np.ndarray, rng: Rng, leads: Sequence[int]) -> np.ndarray:
        samples = signal.shape[-1]
        kept = spread(rng, min(samples, max(2, int(self.cfg.kept_share * samples))), samples)
        lines = [np.interp(np.arange(samples), kept, lead[kept]) for lead in signal]
        return np.stack(lines).astype(np.float32)


@dataclass
class TimeWarpConfig(BaseConfig):
    warp_parts: int = option(10, "parts of an item that time_warp lets run at their own pace", least=1, ours=True)
    warp_pace: float = option(
        1.5, "fastest pace of time_warp, over the usual one; slowest: its inverse", above=0, ours=True
    )


@register_transform("time_warp", dataclass=TimeWarpConfig)
class TimeWarp(_Warp):
    """Parts of equal length run at random paces, evenly drawn as logarithms, and together take as long as before."""

    cfg: TimeWarpConfig

    def instants(self, rng: Rng, samples: int) -> np.ndarray:
        largest = abs(np.log(self.cfg.warp_pace))
        paces = np.exp(rng.uniform(-largest, largest, size=self.cfg.warp_parts))
        reached = np.concatenate([[0.0], np.cumsum(paces)])
        ends = np.linspace(0, samples - 1, len(reached))
        return np.interp(np.arange(samples), ends, reached / reached[-1] * (samples - 1))


@dataclass
class DynamicTimeWarpConfig(BaseConfig):
    warps: int = option(3, "places that dynamic_time_warp moves", least=0, ours=True)
    warp_radius: int = option(10, "samples on either side of each that move less and less", least=1, ours=True)
    warp_step: float = option(2.0, "samples by which each moves, to earlier or later; less than radius", ours=True)

    def __post_init__(self) -> None:
        if not abs(self.warp_step) < self.warp_radius:
            raise ConfigError(
                f"task.warp_step={self.warp_step:g} with task.warp_radius={self.warp_radius} turns time back; set less "
                f"than the radius"
            )


@register_transform("dynamic_time_warp", dataclass=DynamicTimeWarpConfig)
class DynamicTimeWarp(_Warp):
    """A few places move to earlier or later by some samples, and their neighbourhoods with them; the rest stays."""

    cfg: DynamicTimeWarpConfig

    def instants(self, rng: Rng, samples: int) -> np.ndarray:
        instants = np.arange(samples, dtype=np.float64)
        for place in integers(rng, samples, self.cfg.warps):
            side = 1 if integers(rng, 2) else -1
            near = np.clip(1 - np.abs(instants - place) / self.cfg.warp_radius, 0, None)
            instants += side * self.cfg.warp_step * near
        return np.clip(instants, 0, samples - 1)


def spread(rng: Rng, count: int, samples: int) -> np.ndarray:
    """[count] different sample numbers, ascending, the first and the last among them."""
    inner = 1 + rng.choice(samples - 2, count - 2, replace=False) if count > 2 else np.empty(0, dtype=np.int64)
    return np.concatenate([[0], np.sort(inner), [samples - 1]]).astype(np.int64)


def read_at(signal: np.ndarray, instants: np.ndarray) -> np.ndarray:
    """float32 [leads, n]: the signal [leads, samples] at these instants [n], on the lines between its samples."""
    before = np.minimum(instants.astype(np.int64), max(signal.shape[-1] - 2, 0))
    after = np.minimum(before + 1, signal.shape[-1] - 1)
    share = instants - before
    return ((1 - share) * signal[:, before] + share * signal[:, after]).astype(np.float32)
