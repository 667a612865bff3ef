"""What HuBERT-ECG does with a record: band-pass, 500 Hz, scale to [-1, 1], and decimation of a crop.

Source: Coppola et al. 2024, HuBERT-ECG, doi:10.1101/2024.11.14.24317328.
"""

import numpy as np

from ecg_signals.config import ConfigError, UsageError
from ecg_signals.signal.resample import resample_fourier

SAMPLE_RATE = 500  # Hz of the scaled record, whatever it was recorded at
BAND = (0.05, 47.0)  # Hz, of the published preprocessing
FACTORS = (None, 5, 10)  # decimation of the crop; the released models have 5


def band_pass(signal: np.ndarray, rate: float, band: tuple[float, float] = BAND) -> np.ndarray:
    """FIR band-pass of 0.3 s, run forwards and backwards.

    So short a filter cannot cut at 0.05 Hz: its gain is 0.96 at 0 Hz, baseline wander stays, and the default
    band is a 47 Hz low-pass in effect. Released weights were trained on exactly this.

    Args:
        signal: [..., samples], any unit, more than 0.9 s; a NaN makes its lead NaN.
        rate: Hz, more than twice the upper edge.
    Returns: float64, same shape.
    """
    from scipy.signal import filtfilt, firwin

    if not 0 < band[0] < band[1] < rate / 2:
        raise ConfigError(
            f"a band of {band[0]}-{band[1]} Hz needs a record of more than {2 * band[1]} Hz, found {rate} Hz; "
            "record or resample at a higher rate"
        )
    taps = int(0.3 * rate)
    taps += taps % 2 == 0
    if signal.shape[-1] <= 3 * taps:
        seconds = signal.shape[-1] / rate
        raise ConfigError(f"the band-pass needs more than {3 * taps} samples (0.9 s), found {seconds:.2f} s")
    return filtfilt(firwin(taps, [2 * edge / rate for edge in band], pass_zero=False), [1.0], signal, axis=-1)


def scale_leads(signal: np.ndarray) -> np.ndarray:
    """Stretch every lead to [-1, 1) by its own minimum and maximum; a constant lead becomes -1.

    Args:
        signal: [leads, samples], any unit; a NaN makes its lead NaN.
    Returns: float [leads, samples], without a unit.
    """
    low, high = signal.min(axis=-1, keepdims=True), signal.max(axis=-1, keepdims=True)
    return 2 * (signal - low) / (high - low + 1e-8) - 1


def hubert_preprocess(signal: np.ndarray, rate: float, band: tuple[float, float] = BAND) -> np.ndarray:
    """Band-pass, resample to 500 Hz, scale the leads of the whole record to [-1, 1).

    Args:
        signal: [leads, samples] at `rate` Hz, any unit.
    Returns: float64 [leads, int(samples * 500 / rate)].
    """
    return scale_leads(resample_fourier(band_pass(signal, rate, band), rate, SAMPLE_RATE))


def decimate_crop(crop: np.ndarray, factor: int | None, flat: bool = True) -> np.ndarray:
    """Low-pass (Chebyshev, order 8, zero phase) and keep every `factor`-th sample of a crop.

    Args:
        crop: [leads, samples] at 500 Hz, any unit, samples divisible by `factor`; float64 is filtered in float64,
            else in float32.
        factor: 5 or 10 for the published front ends; None: nothing is done.
        flat: True filters the leads laid end to end, as released weights were trained, so that each lead's edge
            is smeared into its neighbour; False filters every lead by itself.
    Returns: float32 [leads, samples / factor]; its rows laid end to end are the model's 1-D input.
    """
    if factor is None:
        return crop.astype(np.float32)
    if factor < 1 or crop.shape[-1] % factor:
        raise UsageError(f"{crop.shape[-1]} samples cannot be decimated by {factor}; use one of {FACTORS}")
    from scipy.signal import decimate

    wide = crop.dtype == np.float64  # the filter's coefficients take the type of the crop, as published
    values = np.ascontiguousarray(crop, dtype=np.float64 if wide else np.float32)
    result = decimate(values.reshape(-1) if flat else values, factor, axis=-1)
    return result.reshape(crop.shape[0], -1).astype(np.float32)
