"""Cutting a record into windows of one length."""

from dataclasses import dataclass

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
    windows = np.lib.stride_tricks.sliding_window_view(signal, samples, axis=-1)  # [leads, starts, samples]
    return windows[:, ::stride].transpose(1, 0, 2)
