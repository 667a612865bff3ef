"""Changing the sample rate of a signal [..., samples]."""

import numpy as np

from ecg_signals.config import ConfigError


def resampled_length(samples: int, rate_in: float, rate_out: float) -> int:
    """Samples afterwards: int(samples * rate_out / rate_in). Raises: ConfigError unless both rates are positive."""
    if not (rate_in > 0 and rate_out > 0):
        raise ConfigError(f"sample rates must be positive, found {rate_in} and {rate_out} Hz; check the file's header")
    return int(samples * rate_out / rate_in)


def resample_linear(signal: np.ndarray, rate_in: float, rate_out: float) -> np.ndarray:
    """Linear interpolation that keeps the first and the last sample in place, as fairseq-signals does.

    The stored samples are spread over 0 ... n' - 1 and read at the integers, so sample j of the result shows
    the original time j * (n - 1) / ((n' - 1) * rate_in) rather than j / rate_out; published weights expect that.

    Args:
        signal: [..., samples], any unit; NaN spreads to the neighbouring new samples.
        rate_in: Hz of `signal`.
        rate_out: Hz wanted; equal rates return `signal` itself.
    Returns: [..., int(samples * rate_out / rate_in)], float64 (the type of `signal` if the rates are equal).
    """
    if rate_in == rate_out:
        return signal
    samples = signal.shape[-1]
    wanted = resampled_length(samples, rate_in, rate_out)
    if wanted == 0 or samples == 0:
        return np.zeros((*signal.shape[:-1], wanted), dtype=np.float64)
    if samples == 1:
        return np.repeat(signal.astype(np.float64), wanted, axis=-1)
    grid = np.linspace(0, wanted - 1, samples)
    position = np.arange(wanted, dtype=np.float64)
    high = np.clip(np.searchsorted(grid, position), 1, samples - 1)
    low = high - 1
    width = grid[high] - grid[low]
    width[width == 0] = 1.0  # a single new sample: every stored one lies at 0, and the first is read
    left = signal[..., low]
    slope = (signal[..., high] - left) / width
    slope *= position - grid[low]
    return slope + left


def resample_halved(signal: np.ndarray, rate_in: float, rate_out: float) -> np.ndarray:
    """`resample_linear`, but for half the rate every second sample from the first on, as ECGFounder's program does.

    Nothing is filtered before: what is faster than `rate_out` / 2 comes back as something slower.

    Args:
        signal: [..., samples], any unit.
        rate_in: Hz of `signal`.
        rate_out: Hz wanted; equal rates return `signal` itself.
    """
    return signal[..., ::2] if rate_in == 2 * rate_out else resample_linear(signal, rate_in, rate_out)


def resample_spline(signal: np.ndarray, rate_in: float, rate_out: float) -> np.ndarray:
    """Cubic spline (not-a-knot), as fairseq-signals resamples LUDB, to int(samples * rate_out / rate_in) samples.

    The result is spread from the first sample to one behind the last, which is extrapolated.

    Args:
        signal: [leads, samples], at least 2; a lead with a NaN becomes NaN throughout.
        rate_in: Hz of `signal`.
        rate_out: Hz wanted; equal rates return `signal` itself.
    """
    if rate_in == rate_out:
        return signal
    from scipy.interpolate import CubicSpline

    samples = signal.shape[-1]
    out = np.full((len(signal), resampled_length(samples, rate_in, rate_out)), np.nan)
    whole = np.isfinite(signal).all(axis=-1)
    if whole.any() and samples > 1:
        places = np.linspace(0, samples, out.shape[-1])
        out[whole] = CubicSpline(np.arange(samples), signal[whole].astype(np.float64), axis=-1)(places)
    return out


def resample_fourier(signal: np.ndarray, rate_in: float, rate_out: float) -> np.ndarray:
    """Resampling in the frequency domain to int(samples * rate_out / rate_in) samples; the record is taken as periodic.

    Args:
        signal: [..., samples], any unit; one NaN makes its whole lead NaN.
        rate_in: Hz of `signal`.
        rate_out: Hz wanted; equal rates return `signal` itself.
    """
    if rate_in == rate_out:
        return signal
    from scipy.signal import resample

    return resample(signal, resampled_length(signal.shape[-1], rate_in, rate_out), axis=-1)
