"""Zero-phase filters along the last axis of [..., samples]; values keep their unit."""

from functools import lru_cache
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError


def butterworth(
    signal: np.ndarray, rate: float, cutoff: float, kind: str, order: int = 5, direct: bool = False
) -> np.ndarray:
    """Butterworth filter run forwards and backwards.

    Args:
        signal: [..., samples]; a NaN makes its lead NaN. Its type counts: of float32 scipy mirrors the ends in float32,
            which is how ECG-JEPA's files were made.
        rate: Hz of `signal`.
        cutoff: edge in Hz, below half of `rate`.
        kind: "highpass" or "lowpass".
        order: of one pass.
        direct: False filters in second-order sections, True by one transfer function, whose ends differ a little.
    Returns: float64, same shape.
    """
    from scipy.signal import filtfilt, sosfiltfilt

    if cutoff >= rate / 2:
        raise ConfigError(
            f"a {cutoff} Hz {kind} needs more than {2 * cutoff} Hz, but the signal has {rate} Hz; resample it first"
        )
    if direct:
        _check_length(signal, 3 * (order + 1), f"{kind} filter")
        return filtfilt(*_designed(order, cutoff, kind, rate, "ba"), signal, axis=-1)
    sections = _designed(order, cutoff, kind, rate, "sos")
    _check_length(signal, 3 * (2 * len(sections) + 1), f"{kind} filter")
    return sosfiltfilt(sections, signal, axis=-1)


@lru_cache(maxsize=64)
def _designed(order: int, cutoff: float, kind: str, rate: float, form: str) -> Any:
    """A filter's coefficients, which are read alone: making them takes as long as filtering 10 s."""
    from scipy.signal import butter

    return butter(order, cutoff, btype=kind, output=form, fs=rate)


def butterworth_band(signal: np.ndarray, rate: float, low: float, high: float, order: int = 4) -> np.ndarray:
    """Butterworth band-pass by one transfer function, run forwards and backwards.

    Args:
        signal: [..., samples]; a NaN makes its lead NaN.
        rate: Hz of `signal`.
        low, high: edges in Hz, 0 < low < high < rate / 2.
        order: of one pass and one edge.
    Returns: float64, same shape.
    """
    from scipy.signal import butter, filtfilt

    if not 0 < low < high < rate / 2:
        raise ConfigError(f"a band from {low} to {high} Hz needs 0 < low < high < {rate / 2:g} Hz, half of the rate")
    _check_length(signal, 3 * (2 * order + 1), "band-pass filter")
    return filtfilt(*butter(order, (low, high), btype="bandpass", fs=rate), _doubles(signal), axis=-1)


def notch(signal: np.ndarray, rate: float, frequency: float, quality: float) -> np.ndarray:
    """Without what oscillates at `frequency` Hz, run forwards and backwards; the band removed is frequency / quality.

    Returns: float64, the shape of `signal` [..., samples]; a NaN makes its lead NaN.
    """
    from scipy.signal import filtfilt, iirnotch

    if not 0 < frequency < rate / 2:
        raise ConfigError(f"a notch at {frequency} Hz needs more than {2 * frequency} Hz, but the signal has {rate} Hz")
    _check_length(signal, 9, "notch filter")
    return filtfilt(*iirnotch(frequency, quality, rate), _doubles(signal), axis=-1)


def without_median(signal: np.ndarray, rate: float, seconds: float) -> np.ndarray:
    """Minus the median of the samples around each, `seconds` long; zeros lie beyond the ends.

    Returns: float64, the shape of `signal` [leads, samples], any unit.
    """
    from scipy.signal import medfilt

    window = int(seconds * rate) | 1  # odd
    signal = _doubles(signal)
    beyond = window // 2
    wider = np.pad(signal, ((0, 0), (beyond, beyond)))  # medfilt warns of signals shorter than its window
    return signal - np.stack([medfilt(lead, window) for lead in wider])[:, beyond : beyond + signal.shape[-1]]


def clean(signal: np.ndarray, rate: float) -> np.ndarray:
    """What NeuroKit's `ecg_clean` does by default: no baseline wander, no 50 Hz hum.

    An order-5 Butterworth high-pass at 0.5 Hz, then a moving average over one period of 50 Hz (int(rate / 50)
    samples; two samples below 100 Hz); both run forwards and backwards.

    Args:
        signal: [..., samples], left unchanged; a NaN makes its lead NaN.
        rate: Hz.
    Returns: float64, same shape.
    """
    from scipy.signal import filtfilt

    period = int(rate / 50) if rate >= 100 else 2
    steady = butterworth(signal, rate, 0.5, "highpass")
    _check_length(signal, 3 * period, "50 Hz filter")
    return filtfilt(np.ones(period), [period], steady, axis=-1)


def _doubles(signal: np.ndarray) -> np.ndarray:
    """float64; of float32 scipy's filters would mirror the ends in float32, which a band-pass carries far inwards."""
    return np.asarray(signal, dtype=np.float64)


def _check_length(signal: np.ndarray, padding: int, what: str) -> None:
    if signal.shape[-1] <= padding:
        found = signal.shape[-1]
        raise ConfigError(f"the {what} needs more than {padding} samples, found {found}; use a longer record")
