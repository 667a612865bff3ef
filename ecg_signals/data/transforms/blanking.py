"""Parts of an item become zero: samples, a stretch of them, an edge, a lead; source: ST-MEM, arXiv:2402.09450."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ecg_signals.config import BaseConfig, option
from ecg_signals.data.transforms.base import Transform
from ecg_signals.data.transforms.rng import Rng, integers, span
from ecg_signals.registry import register_transform


@dataclass
class ShareConfig(BaseConfig):
    largest_share: float = option(
        0.3,
        "share of an item's samples that drop, cutout, shift and partial noise change at most",
        least=0,
        most=1,
        ours=True,
    )


class _Share(Transform):
    cfg: ShareConfig
    grow = ("largest_share",)


@register_transform("drop", dataclass=ShareConfig)
class Drop(_Share):
    """Random samples are zero, in all leads alike; how many is drawn first, evenly below the largest share."""

    def __call__(self, signal: np.ndarray, rng: Rng, leads: Sequence[int]) -> np.ndarray:
        samples = signal.shape[-1]
        count = int(integers(rng, max(1, int(self.cfg.largest_share * samples))))
        return blanked(signal, rng.choice(samples, count, replace=False))


@register_transform("cutout", dataclass=ShareConfig)
class Cutout(_Share):
    """One stretch of samples is zero, in all leads alike."""

    def __call__(self, signal: np.ndarray, rng: Rng, leads: Sequence[int]) -> np.ndarray:
        return blanked(signal, span(rng, signal.shape[-1], self.cfg.largest_share))


@dataclass
class TimeOutConfig(BaseConfig):
    time_out_share: tuple[float, float] = option(
        (0.2, 0.4), "smallest and largest share of an item's samples that time_out blanks", least=0, most=1,
        rising=True, ours=True,
    )  # fmt: skip


@register_transform("time_out", dataclass=TimeOutConfig)
class TimeOut(Transform):
    """`cutout` with a smallest share, as Mehari and Strodthoff 2022 have it, arXiv:2103.12676."""

    cfg: TimeOutConfig

    def __call__(self, signal: np.ndarray, rng: Rng, leads: Sequence[int]) -> np.ndarray:
        smallest, largest = self.cfg.time_out_share
        return blanked(signal, span(rng, signal.shape[-1], largest, smallest))


@register_transform("shift", dataclass=ShareConfig)
class Shift(_Share):
    """The item moves to earlier or later, and zeros follow."""

    def __call__(self, signal: np.ndarray, rng: Rng, leads: Sequence[int]) -> np.ndarray:
        later = int(integers(rng, 2)) == 1
        samples = signal.shape[-1]
        by = int(rng.uniform() * self.cfg.largest_share * samples)
        moved = np.zeros(signal.shape, dtype=np.float32)
        if later:
            moved[:, by:] = signal[:, : samples - by]
        else:
            moved[:, : samples - by] = signal[:, by:]
        return moved


@register_transform("erase")
class Erase(Transform):
    """One lead, drawn evenly, is zero."""

    loses_leads = True

    def __call__(self, signal: np.ndarray, rng: Rng, leads: Sequence[int]) -> np.ndarray:
        erased = signal.astype(np.float32)
        erased[int(integers(rng, len(signal)))] = 0
        return erased


def blanked(signal: np.ndarray, samples: np.ndarray | slice) -> np.ndarray:
    """`signal` [leads, samples], any unit, with zeros at these samples of every lead."""
    changed = signal.astype(np.float32)
    changed[:, samples] = 0
    return changed
