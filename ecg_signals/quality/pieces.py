"""Ten seconds at a time of a record, as the checks look at it."""

import math
from collections.abc import Iterator

import numpy as np

from ecg_signals.signal.missing import interpolate_nan
from ecg_signals.signal.record import Record
from ecg_signals.signal.spectrum import band

SECONDS, MOST = 10.0, 6  # of a piece; pieces of a long record
FASTEST = 1000.0  # Hz; above it neighbouring samples are averaged
LOWEST, HIGHEST, ORDER = 0.5, 40.0, 3  # Hz, of the band in which beats are compared


def pieces(record: Record) -> Iterator[tuple[np.ndarray, float]]:
    """Up to MOST stretches of SECONDS, evenly spaced over the record, or the whole of a shorter one.

    Yields: [leads, samples], float64, mV, NaN where there is no finite value; and Hz, FASTEST at about most.
    """
    length = record.signal.shape[1]
    samples = min(length, max(1, round(SECONDS * record.sample_rate)))
    count = min(MOST, math.ceil(length / samples)) if samples else 0
    step = max(1, int(record.sample_rate // FASTEST))
    for start in np.linspace(0, length - samples, count).round().astype(int):
        signal = record.signal[:, start : start + samples].astype(np.float64)
        signal = signal[:, : samples // step * step].reshape(len(signal), -1, step).mean(axis=2)
        yield np.where(np.isfinite(signal), signal, np.nan), record.sample_rate / step


def beats_of(signal: np.ndarray, rate: float) -> np.ndarray:
    """[leads, samples] of a piece from 0.5 to 40 Hz, without gaps; a lead without values stays NaN."""
    return band(interpolate_nan(signal), rate, LOWEST, HIGHEST, ORDER)
