"""What can be wrong with a single lead.

Indices of signal quality by power and by peaks: Li, Mark and Clifford 2008, doi:10.1088/0967-3334/29/1/002; Clifford et
al. 2012, doi:10.1088/0967-3334/33/9/1419. `tools/measure_quality.py` measures their thresholds.
"""

from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

from ecg_signals.signal.spectrum import welch

FLAT_RANGE, FLAT_EQUAL = 0.05, 0.9  # mV between the extremes; share of neighbours that are equal
NOISE, NOISE_BAND, BEAT_BAND = 0.5, (40.0, 150.0), (5.0, 40.0)
LEAST_NOISE_BAND = 60.0  # Hz of that band below half the rate; near 40 Hz lies what the steep parts of beats have
WANDER, WANDER_RANGE = 0.5, 1.5  # share of the power below 1 Hz; mV that this slow part spans at least
PEAKS, PEAK_POWER = 5.0, 0.5  # kurtosis (kSQI), and share of 5 to 15 in 5 to 40 Hz (pSQI), of a lead with beats
WINDOW_SECONDS = 4.0  # of the power spectrum
LEAST_SECONDS = 2.0  # that a spectrum below 1 Hz needs


@dataclass(frozen=True)
class LeadNumbers:
    """One number per lead, [leads]; NaN where the lead has no value, or the piece is too short or slow for it.

    Attributes:
        span: mV between the extremes.
        equal: share of neighbouring samples that are equal.
        noise: power from 40 to 150 Hz over that from 5 to 40 Hz; at 200 to 300 Hz, where less is seen, as if the rest
            had as much; below no number.
        slow: share of the power below 1 Hz in that below 40 Hz.
        wander: mV that the part below 1 Hz spans.
        kurtosis: of the values; 3 for noise.
        peak_power: share of 5 to 15 Hz in the power from 5 to 40 Hz.
        missing: share of samples without a value.
    """

    span: np.ndarray
    equal: np.ndarray
    noise: np.ndarray
    slow: np.ndarray
    wander: np.ndarray
    kurtosis: np.ndarray
    peak_power: np.ndarray
    missing: np.ndarray

    @classmethod
    def median(cls, several: "list[LeadNumbers]") -> "LeadNumbers":
        """Of the pieces of one record."""
        if len(several) == 1:
            return several[0]
        return cls(**{
            item.name: _median(np.stack([getattr(numbers, item.name) for numbers in several]))
            for item in fields(cls)
        })  # fmt: skip


def numbers_of(signal: np.ndarray, filled: np.ndarray, rate: float) -> LeadNumbers:
    """Of one piece [leads, samples] with its gaps, and without them."""
    there = np.isfinite(signal)
    empty = ~there.any(axis=1)
    span = np.where(empty, np.nan, np.where(there, signal, -np.inf).max(axis=1, initial=-np.inf)
                    - np.where(there, signal, np.inf).min(axis=1, initial=np.inf))  # fmt: skip
    both = there[:, 1:] & there[:, :-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        equal = ((np.diff(signal, axis=1) == 0) & both).sum(axis=1) / both.sum(axis=1)
        noise, slow, peaks, wander = _spectral(filled, rate)
        kurtosis = standardised(filled, 4)
    return LeadNumbers(span, equal, noise, slow, wander, kurtosis, peaks, 1 - there.mean(axis=1))


def flags(numbers: LeadNumbers) -> list[list[str]]:
    """Of every lead, in words: "missing", "flat", "noise", "wander"; "no beats" only behind one of the last two, since
    sound leads have low peaks as well."""
    flat = (numbers.span < FLAT_RANGE) | (numbers.equal > FLAT_EQUAL)
    noise = numbers.noise > NOISE
    wander = (numbers.slow > WANDER) & (numbers.wander > WANDER_RANGE)
    no_beats = (numbers.kurtosis < PEAKS) & (numbers.peak_power < PEAK_POWER)
    found = []
    for lead, missing in enumerate(numbers.missing):
        if missing > 0.5:
            found.append(["missing"])
        elif flat[lead]:
            found.append(["flat"])
        else:
            own = ["noise"] * bool(noise[lead]) + ["wander"] * bool(wander[lead])
            found.append([*own, *["no beats"] * bool(own and no_beats[lead])])
    return found


def standardised(signal: np.ndarray, power: Literal[3, 4]) -> np.ndarray:
    """The mean of ((x - mean) / standard deviation) ** power of every lead: 3 skewness, 4 kurtosis; NaN if flat."""
    centred = signal - signal.mean(axis=1, keepdims=True)
    squares = centred * centred
    powers = squares * (centred if power == 3 else squares)
    with np.errstate(invalid="ignore", divide="ignore"):
        return powers.mean(axis=1) / squares.mean(axis=1) ** (power / 2)


def _spectral(filled: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Noise, slow part, power of the peaks, and mV that the slow part spans."""
    nothing = np.full(len(filled), np.nan)
    if filled.shape[1] < LEAST_SECONDS * rate or rate <= 2 * BEAT_BAND[1]:
        return nothing, nothing, nothing, nothing
    window = min(filled.shape[1], round(WINDOW_SECONDS * rate))
    frequency, density = welch(filled, rate, window)

    def power(low: float, high: float) -> np.ndarray:
        return density[:, (frequency >= low) & (frequency < high)].sum(axis=1)

    low, high = NOISE_BAND
    width = min(high, rate / 2) - low
    noise = power(low, high) / power(*BEAT_BAND) * ((high - low) / width) if width >= LEAST_NOISE_BAND else nothing
    peaks = power(BEAT_BAND[0], 15.0) / power(*BEAT_BAND)
    return noise, power(0, 1) / power(0, BEAT_BAND[1]), peaks, np.ptp(_below_one_hertz(filled, rate), axis=1)


def _below_one_hertz(filled: np.ndarray, rate: float) -> np.ndarray:
    """Means of half a second: what a beat adds to them is small."""
    samples = max(1, round(rate / 2))
    usable = filled.shape[1] // samples * samples
    return filled[:, :usable].reshape(len(filled), -1, samples).mean(axis=2)


def _median(values: np.ndarray) -> np.ndarray:
    """Over pieces [pieces, leads], those without a number left out."""
    found = np.full(values.shape[1], np.nan)
    for lead in range(values.shape[1]):
        own = values[np.isfinite(values[:, lead]), lead]
        if len(own):
            found[lead] = np.median(own)
    return found
