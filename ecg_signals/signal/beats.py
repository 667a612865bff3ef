"""Where the heart beats: the QRS complexes of a record, by the energy of its slopes in all leads together."""

import numpy as np

SHORTEST = 0.25  # s between two beats
WINDOW = 0.12  # s over which energy is averaged, about a QRS complex
THRESHOLD = 0.2  # share of the energy of a typical beat that makes one


def find_beats(signal: np.ndarray, rate: float) -> np.ndarray:
    """Samples at which QRS complexes are centred, in order; missing samples and flat leads do not count.

    Args:
        signal: [leads, samples], any unit.
        rate: Hz, above 40.
    Source: after Pan & Tompkins 1985, A Real-Time QRS Detection Algorithm.
    """
    from scipy.ndimage import uniform_filter1d
    from scipy.signal import butter, find_peaks, sosfiltfilt

    from ecg_signals.signal.missing import interpolate_nan

    filled = np.nan_to_num(interpolate_nan(np.asarray(signal, dtype=np.float64)))
    if filled.shape[-1] < rate:
        return np.empty(0, dtype=np.int64)
    band = sosfiltfilt(butter(3, (5.0, 18.0), btype="bandpass", fs=rate, output="sos"), filled, axis=-1)
    slope = np.gradient(band, axis=-1) ** 2
    scale = slope.mean(axis=-1, keepdims=True)
    there = scale[:, 0] > 0
    if not there.any():
        return np.empty(0, dtype=np.int64)
    energy = uniform_filter1d((slope[there] / scale[there]).mean(axis=0), max(1, round(WINDOW * rate)))
    per_second = [energy[at : at + int(rate)].max() for at in range(0, len(energy) - int(rate) + 1, int(rate))]
    peaks, _ = find_peaks(energy, height=THRESHOLD * float(np.median(per_second)), distance=round(SHORTEST * rate))
    return np.asarray(peaks, dtype=np.int64)


def rr_interval(signal: np.ndarray, rate: float) -> float:
    """The median time from one beat to the next, in ms; NaN where fewer than three beats are found."""
    beats = find_beats(signal, rate)
    return float(np.median(np.diff(beats)) * 1000 / rate) if len(beats) > 2 else float("nan")
