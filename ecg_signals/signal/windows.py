"""Cutting a record into windows of one length, in samples."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Cutting:
    """How an item becomes windows, and their answers one.

    Attributes:
        samples: of a window.
        stride: samples between the starts of two windows; None: `samples`.
        count: that many windows instead, evenly spaced from the first sample to the last.
        rule: one of sections.WINDOW_RULES, by which the answers to them become one.
    """

    samples: int
    stride: int | None = None
    count: int | None = None
    rule: str = "mean"

    def starts(self, length: int) -> list[int]:
        """First samples of the windows of a signal with `length` samples; one window of a signal that is too short."""
        surplus = length - self.samples
        if surplus <= 0:
            return [0]
        if self.count is None:
            return list(range(0, surplus + 1, self.stride or self.samples))
        gaps = max(1, self.count - 1)
        return sorted({number * surplus // gaps for number in range(self.count)})


def segment(signal: np.ndarray, samples: int, stride: int | None = None) -> np.ndarray:
    """Consecutive windows from the start of `signal`; what is left at the end is dropped.

    Args:
        signal: [leads, n], any unit.
        samples: length of a window, in samples.
        stride: samples between the starts of two windows; None: `samples`, so that they do not overlap.
    Returns: a view [windows, leads, samples]; no window if the record is shorter than one.
    """
    stride = samples if stride is None else stride
    if signal.shape[-1] < samples:
        return np.zeros((0, signal.shape[0], samples), dtype=signal.dtype)
    if stride == samples:
        whole = signal[:, : signal.shape[-1] // samples * samples]
        return whole.reshape(len(signal), -1, samples).transpose(1, 0, 2)
    windows = np.lib.stride_tricks.sliding_window_view(signal, samples, axis=-1)  # [leads, starts, samples]
    return windows[:, ::stride].transpose(1, 0, 2)


def random_start(length: int, samples: int, rng: Any) -> int:
    """Where a window of a record of `length` begins, every place alike; 0 where the record is no longer than it.

    Args:
        rng: a Generator, or a RandomState, from which published crops are drawn.
    """
    places = max(0, length - samples) + 1
    return int(rng.integers(places) if isinstance(rng, np.random.Generator) else rng.randint(0, places))


def centre_start(length: int, samples: int) -> int:
    """Where the window in the middle of a record begins."""
    return max(0, length - samples) // 2


def stepped_starts(length: int, samples: int, count: int) -> list[int]:
    """ST-MEM's windows, from the first sample on, in equal steps rounded down.

    What is left at the end is left out; where it is as long as a step, there are more than `count` windows. One window
    lies in the middle, and steps are at least one sample, where the published rule divides by zero.
    """
    surplus = max(0, length - samples)
    if count == 1:
        return [centre_start(length, samples)]
    return list(range(0, surplus + 1, max(1, surplus // (count - 1))))
