"""From a stored record to an excerpt at the rate that is wanted: gaps filled, baseline steadied, resampled."""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ecg_signals.signal.filters import butterworth
from ecg_signals.signal.missing import interpolate_nan
from ecg_signals.signal.resample import resample_fourier, resampled_length

MARGIN_SECONDS = 10  # around an excerpt: what filters and resampling show of the cut lies below a float16's last digit
HIGH_PASS, ORDER = 0.5, 4  # Hz, and order of one pass


@dataclass(frozen=True)
class Conditioning:
    """What happens to a record before its values are scaled, in this order.

    Attributes:
        rate: Hz as stored.
        wanted: Hz afterwards.
        steady: remove baseline wander, with a Butterworth high-pass forwards and backwards.
        half: float16 between the steps, and every step over the whole record, as ECG-JEPA was trained; else float32.
        scale: mV per stored unit.
    """

    rate: float
    wanted: float
    steady: bool = False
    half: bool = False
    scale: float = 1.0

    @property
    def plain(self) -> bool:
        """Excerpts are as stored, where nothing is missing."""
        return self.rate == self.wanted and not self.steady and self.scale == 1.0

    def length(self, samples: int) -> int:
        """Samples of a record afterwards."""
        return samples if self.rate == self.wanted else resampled_length(samples, self.rate, self.wanted)

    def span(self, samples: int, start: int, length: int) -> tuple[int, int]:
        """The stored samples that make `length` samples from `start` on: an excerpt with margins, or the whole record.

        Its beginning is also a sample afterwards. Records up to about twice as long as that are taken whole, as are
        all with `half`.
        """
        if self.plain:
            return start, start + length
        ratio = Fraction(self.rate).limit_denominator(1000) / Fraction(self.wanted).limit_denominator(1000)
        margin, step = math.ceil(MARGIN_SECONDS * self.rate), ratio.numerator
        first = max(0, math.floor(start * ratio) - margin) // step * step
        behind = math.ceil((start + length) * ratio) + margin
        behind = min(samples, first + math.ceil((behind - first) / step) * step)
        return (0, samples) if self.half or 2 * (behind - first) >= samples else (first, behind)

    def __call__(self, signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Any numbers [leads, samples] -> float32 (`half`: float16) [leads, samples'] in mV, and which leads are empty.

        Gaps are bridged by straight lines; what is infinite is missing as well, except with `half`.

        Returns: the signal, leads without any value as zeros; bool [leads], True for those.
        """
        dtype = np.float16 if self.half else np.float32
        signal = np.array(signal, dtype=dtype, order="C")
        if self.scale != 1.0:
            signal *= dtype(self.scale)
        if not self.half:
            signal[np.isinf(signal)] = np.nan
        signal = interpolate_nan(signal)
        empty = np.isnan(signal).any(axis=-1)
        signal[empty] = 0
        if self.steady:
            exact = signal if self.half else signal.astype(np.float64)  # published: also the extended ends
            signal = butterworth(exact, self.rate, HIGH_PASS, "highpass", ORDER, True).astype(dtype)
        return resample_fourier(signal.astype(np.float32), self.rate, self.wanted).astype(dtype, copy=False), empty


def has_gap(signal: np.ndarray) -> bool:
    """Whether a value is NaN or infinite.

    Read as integers these are the largest of their sign: two maxima find them, without an array in between, which for
    float16 takes a tenth of the time of numpy.isnan.
    """
    if signal.dtype.kind != "f" or not signal.size:
        return False
    if not signal.dtype.isnative or signal.dtype.itemsize > 8:
        return not np.isfinite(signal).all()
    signed, unsigned = np.dtype(f"i{signal.dtype.itemsize}"), np.dtype(f"u{signal.dtype.itemsize}")
    edge = np.array([np.inf, -np.inf], dtype=signal.dtype)
    values = signal.ravel(order="K")  # a view, as the values lie in memory
    highest = values.view(signed).max() >= edge.view(signed)[0]
    return bool(highest or values.view(unsigned).max() >= edge.view(unsigned)[1])
