"""Cutting a record into windows of one length."""

import numpy as np


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
