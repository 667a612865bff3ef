"""The input of HuBERT-ECG's published files, which state none."""

import math
from collections.abc import Sequence
from typing import Any

from ecg_signals.config import ConfigError, UsageError
from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.hubert_ecg import FACTORS, SAMPLE_RATE
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.millivolt import FMB, PUBLISHED

LICENCE = "CC BY-NC 4.0"  # of every weight that HuBERT-ECG's authors published


def hubert_ecg(factor: int | None = 5, flat: bool = True) -> SignalContract:
    """HuBERT-ECG: band-pass, 500 Hz, leads scaled to [-1, 1] over the record; 5 s crops, decimated.

    Args:
        factor: of the decimation, which the front end was built for: 5 for the released models, None or 10.
        flat: True decimates the leads laid end to end, as for the released weights.
    """
    if factor not in FACTORS:
        raise UsageError(f"the decimation factor is {factor}; HuBERT-ECG has front ends for {FACTORS}")
    steps: list[dict[str, Any]] = [
        {"name": "hubert_band_pass"},
        {"name": "resample", "method": "fourier", "to": SAMPLE_RATE},
        {"name": "hubert_scale"},
        {"name": "window"},
        {"name": "nan_to_mean"},
        {"name": "pad"},
    ]
    if factor is not None:
        steps.append({"name": "hubert_decimate", "factor": factor, "flat": flat})
    rate = SAMPLE_RATE / (factor or 1)
    return SignalContract(rate, list(LEADS), int(5 * rate), steps)


def inputs(strides: Sequence[int]) -> dict[str, SignalContract]:
    """By name, for this front end: the comparison kept the published input. None for strides of no published one."""
    try:
        factor = decimation_factor(strides)
    except ConfigError:
        return {}
    return {PUBLISHED: hubert_ecg(factor), FMB: hubert_ecg(factor)}


def decimation_factor(strides: Sequence[int]) -> int | None:
    """What 500 Hz input is decimated by for this front end; a frame always spans 320 samples at 500 Hz (0.64 s).

    Raises: ConfigError for strides of no published front end.
    """
    factors = {320: None, 64: 5, 32: 10}
    step = math.prod(strides)
    if step not in factors:
        raise ConfigError(
            f"model.conv_stride={list(strides)} makes frames of {step} samples; there are 320 (500 Hz input), "
            f"64 (100 Hz) or 32 (50 Hz)"
        )
    return factors[step]
