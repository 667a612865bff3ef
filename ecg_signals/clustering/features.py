"""Descriptors of frames that are clustered in HuBERT-ECG's first iteration: 93 shards of a 5-s ECG, one vector each.

All functions work on whole batches; nothing loops over records or shards.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecg_signals.config import ConfigError

SHARDS = 93  # frames of the model for 5 s of 12 leads
WINDOW = 2500  # samples at 500 Hz
LEADS = 12
SIZES = {"time_freq": 16, "mixed": 29, "mfcc": 39}  # values per shard
CEPSTRA, MEL_BINS, LIFTER, PREEMPHASIS = 13, 23, 22, 0.97  # the defaults of Kaldi's compute-mfcc-feats
LOG_FLOOR = 1.1920929e-07  # the machine epsilon of float32, below which Kaldi takes no logarithm

Array = NDArray[np.float64]


@dataclass(frozen=True)
class DescriptorOptions:
    """How shards are described.

    Attributes:
        kind: "time_freq" (16 values), "mfcc" (39) or "mixed" (29: both without deltas).
        sample_rate: Hz of the shards: 500, 100 or 50.
        low_frequency: lower edge of the mel filters, Hz. Published 20, above most of an ECG's energy.
        deltas: slopes of the cepstra over neighbouring shards ("frames"), or of one "shard", always 0 (published).
    """

    kind: str = "time_freq"
    sample_rate: int = 100
    low_frequency: float = 0.0
    deltas: str = "frames"

    def __post_init__(self) -> None:
        for name, value, known in (
            ("kind", self.kind, tuple(SIZES)),
            ("sample rate", self.sample_rate, (500, 100, 50)),
            ("deltas", self.deltas, ("frames", "shard")),
        ):
            if value not in known:
                raise ConfigError(f"the {name} of descriptors is {value!r}; choose one of {', '.join(map(str, known))}")

    @property
    def size(self) -> int:
        """Values per shard."""
        return SIZES[self.kind]


def describe(signals: np.ndarray, options: DescriptorOptions) -> np.ndarray:
    """Describe the shards of several ECGs.

    Args:
        signals: [records, 12, 2500 or more] preprocessed, 500 Hz; the first 2500 samples are used, NaN allowed.
        options: which descriptors.
    Returns: [records, 93, values] float32; all NaN for a record without any value.
    """
    shards = cut_shards(signals, options.sample_rate)
    parts = []
    if options.kind in ("time_freq", "mixed"):
        parts.append(time_frequency(shards))
    if options.kind in ("mfcc", "mixed"):
        cepstra = mel_cepstra(shards, options.sample_rate, options.low_frequency)
        parts.append(cepstra)
        if options.kind == "mfcc":
            slopes = delta(cepstra, options.deltas)
            parts += [slopes, delta(slopes, options.deltas)]
    return np.concatenate(parts, axis=-1).astype(np.float32)


def cut_shards(signals: np.ndarray, sample_rate: int) -> Array:
    """[records, 12, >= 2500] at 500 Hz -> [records, 93, samples] at `sample_rate`, the leads one after the other.

    Leads are decimated one by one (also by 1: the filter acts), trimmed so that 93 shards fill them, and missing
    values become the record's mean.
    """
    from scipy.signal import decimate

    if signals.ndim != 3 or signals.shape[1] != LEADS or signals.shape[2] < WINDOW:
        raise ConfigError(
            f"descriptors need ECGs of {LEADS} leads and {WINDOW} samples or more, found shape {signals.shape[1:]}"
        )
    window = np.asarray(signals[..., :WINDOW], dtype=np.float64)
    leads = decimate(window, 500 // sample_rate, axis=-1)  # [records, 12, samples of a lead]
    if sample_rate == 500:
        trimmed = [lead[:, 2 : -2 - number % 2] for number, lead in enumerate(leads.swapaxes(0, 1))]
        stream = np.concatenate(trimmed, axis=-1)
    else:
        edge = 2 if sample_rate == 100 else 1
        stream = leads[..., edge:-edge].reshape(len(leads), -1)
    missing = np.isnan(stream)
    if missing.any():
        count = np.maximum((~missing).sum(axis=1), 1)
        mean = np.where(missing, 0.0, stream).sum(axis=1) / count
        mean[missing.all(axis=1)] = np.nan
        stream = np.where(missing, mean[:, None], stream)
    return stream.reshape(len(stream), SHARDS, -1)


def time_frequency(shards: Array) -> Array:
    """Sixteen values of each shard [..., samples] -> [..., 16].

    min, max, mean, rms, variance, standard deviation, power, peak, peak to peak, crest, skewness, excess kurtosis; of
    the power spectrum max, sum, mean, variance. A constant shard has skewness and kurtosis 0 (NaN as published).
    """
    low, high, mean = shards.min(-1), shards.max(-1), shards.mean(-1)
    power = np.square(shards).mean(-1)
    rms, peak = np.sqrt(power), np.abs(shards).max(-1)
    centred = shards - mean[..., None]
    squared = np.square(centred)
    variance = squared.mean(-1)
    flat = variance <= np.square(np.finfo(np.float64).eps * mean)
    safe = np.where(flat, 1.0, variance)
    skewness = np.where(flat, 0.0, (squared * centred).mean(-1) / safe**1.5)
    kurtosis = np.where(flat, 0.0, np.square(squared).mean(-1) / safe**2 - 3.0)
    crest = peak / np.where(rms > 0, rms, 1.0)
    spectrum = spectral_values(shards)
    values = [low, high, mean, rms, variance, np.sqrt(variance), power, peak, high - low, crest, skewness, kurtosis]
    return np.stack([*values, *spectrum], axis=-1)


def spectral_values(shards: Array) -> tuple[Array, Array, Array, Array]:
    """max, sum, mean and variance over all frequencies, negative ones too, of |FFT|^2 / samples."""
    samples = shards.shape[-1]
    spectrum = np.square(np.abs(np.fft.rfft(shards))) / samples
    twice = np.full(spectrum.shape[-1], 2.0)
    twice[0] = 1.0
    if samples % 2 == 0:
        twice[-1] = 1.0
    total = spectrum @ twice
    mean = total / samples
    variance = np.square(spectrum - mean[..., None]) @ twice / samples
    return spectrum.max(-1), total, mean, variance


def mel_cepstra(shards: Array, sample_rate: int, low_frequency: float) -> Array:
    """Kaldi's mel-frequency cepstra, one frame per shard: [..., samples] -> [..., 13]."""
    samples = shards.shape[-1]
    padded = 1 << (samples - 1).bit_length()
    centred = shards - shards.mean(-1, keepdims=True)
    before = np.concatenate([centred[..., :1], centred[..., :-1]], axis=-1)
    window = np.hanning(samples) ** 0.85  # Kaldi's "povey"
    spectrum = np.fft.rfft((centred - PREEMPHASIS * before) * window, n=padded)[..., : padded // 2]
    energy = np.square(np.abs(spectrum)) @ mel_filters(padded, sample_rate, low_frequency)
    return np.log(np.maximum(energy, LOG_FLOOR)) @ cepstral_matrix()


def mel_filters(padded: int, sample_rate: int, low_frequency: float) -> Array:
    """Triangles in mel, from `low_frequency` to half the rate: [frequencies without the highest, 23]."""
    if not 0 <= low_frequency < sample_rate / 2:
        raise ConfigError(
            f"the mel filters start at {low_frequency} Hz; choose a frequency from 0 to below {sample_rate / 2}"
        )

    def mel(frequency: np.ndarray | float) -> Array:
        return 1127.0 * np.log(1.0 + np.asarray(frequency) / 700.0)

    edges = np.linspace(mel(low_frequency), mel(sample_rate / 2), MEL_BINS + 2)
    at = mel(np.arange(padded // 2) * sample_rate / padded)[:, None]
    rising = (at - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - at) / (edges[2:] - edges[1:-1])
    return np.maximum(0.0, np.minimum(rising, falling))


def cepstral_matrix() -> Array:
    """Orthonormal cosine transform and lifter: [23, 13]."""
    order = np.arange(CEPSTRA)
    cosines = np.cos(np.pi * (np.arange(MEL_BINS)[:, None] + 0.5) * order / MEL_BINS) * np.sqrt(2.0 / MEL_BINS)
    cosines[:, 0] /= np.sqrt(2.0)
    return cosines * (1.0 + LIFTER / 2 * np.sin(np.pi * order / LIFTER))


def delta(values: Array, over: str) -> Array:
    """Slope over five neighbouring shards, edges repeated, [records, shards, values] -> same; zeros for "shard"."""
    if over == "shard":
        return np.zeros_like(values)
    padded = np.concatenate([values[:, :1], values[:, :1], values, values[:, -1:], values[:, -1:]], axis=1)
    count = values.shape[1]
    one = padded[:, 3 : 3 + count] - padded[:, 1 : 1 + count]
    two = padded[:, 4 : 4 + count] - padded[:, :count]
    return (one + 2 * two) / 10.0  # the regression over two neighbours on each side that HTK and Kaldi call delta
