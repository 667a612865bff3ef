"""Filling samples that a record lacks (NaN)."""

import numpy as np


def interpolate_nan(signal: np.ndarray) -> np.ndarray:
    """NaN becomes the straight line between its neighbours; at the ends the nearest sample is repeated.

    Args:
        signal: [leads, samples], any unit, left unchanged; a lead that is NaN throughout stays so.
    """
    missing = np.isnan(signal)
    if not missing.any():
        return signal
    result = signal.copy()
    position = np.arange(signal.shape[-1])
    for lead, gaps in zip(result, missing):
        if gaps.any() and not gaps.all():
            lead[gaps] = np.interp(position[gaps], position[~gaps], lead[~gaps])
    return result


def nan_to_mean(signal: np.ndarray) -> np.ndarray:
    """NaN becomes the mean of all other values of all leads, as in HuBERT-ECG; a signal of NaN alone stays as it is.

    Args:
        signal: [leads, samples], any unit, left unchanged.
    """
    missing = np.isnan(signal)
    if not missing.any() or missing.all():
        return signal
    return np.where(missing, signal[~missing].mean(dtype=np.float64), signal).astype(signal.dtype)
