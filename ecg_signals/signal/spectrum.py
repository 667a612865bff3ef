"""Power spectra and filters by Fourier transform, in NumPy alone: `scipy.signal` takes a second to import, which
everybody who asks about one record would wait for."""

import numpy as np


def welch(signal: np.ndarray, rate: float, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Power spectral density by Welch's method: Hann windows that overlap by half, each without its mean.

    Args:
        signal: [leads, length]; a NaN makes its lead NaN.
        rate: Hz of `signal`.
        samples: of a window, 2 or more, `length` at most.
    Returns: frequencies in Hz [bins], and density [leads, bins] in the unit of `signal` squared per Hz.
    Source: Welch 1967, doi:10.1109/TAU.1967.1161901; equal to `scipy.signal.welch`.
    """
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(samples) / samples)
    parts = np.lib.stride_tricks.sliding_window_view(signal, samples, axis=1)[:, :: samples - samples // 2]
    centred = parts - parts.mean(axis=2, keepdims=True)
    density = np.mean(np.abs(np.fft.rfft(window * centred)) ** 2, axis=1) / (rate * np.sum(window**2))
    density[:, 1 : (samples + 1) // 2] *= 2  # the negative frequencies
    return np.fft.rfftfreq(samples, 1 / rate), density


def band(signal: np.ndarray, rate: float, low: float, high: float, order: int) -> np.ndarray:
    """Butterworth high-pass at `low` and low-pass at `high`, each run forwards and backwards; ends are mirrored.

    Args:
        signal: [leads, length], one sample or more; a NaN makes its lead NaN.
        rate: Hz of `signal`.
        low, high: edges in Hz, of half the power in one direction; an edge at or above half the rate cuts nothing.
        order: of one direction.
    Returns: float64, same shape.
    """
    length = signal.shape[1]
    place = np.tan(np.pi * np.arange(1, length) / (2 * length))  # of a frequency, where the bilinear transform puts it
    below, above = (np.tan(np.pi * min(edge / rate, 0.5)) for edge in (low, high))
    gain = np.zeros(length + 1)  # none at 0; a mirrored signal has nothing at half the rate
    gain[1:length] = 1 / ((1 + (below / place) ** (2 * order)) * (1 + (place / above) ** (2 * order)))
    both = np.fft.rfft(np.concatenate([signal, signal[:, ::-1]], axis=1))
    return np.fft.irfft(both * gain, 2 * length)[:, :length]
