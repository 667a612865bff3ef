"""What stands where samples are missing."""

import numpy as np

from ecg_signals.registry import register_step
from ecg_signals.signal.missing import interpolate_nan, nan_to_mean
from ecg_signals.signal.steps.base import Step


@register_step("interpolate_nan")
class InterpolateNan(Step):
    """A straight line from neighbour to neighbour."""

    fills_nan = True

    def __call__(self, signal: np.ndarray, rate: float, contract_rate: float) -> tuple[np.ndarray, float]:
        return interpolate_nan(signal), rate


@register_step("nan_to_mean")
class NanToMean(Step):
    """The mean of all leads' other samples, as HuBERT-ECG fills them."""

    fills_nan = True

    def __call__(self, signal: np.ndarray, rate: float, contract_rate: float) -> tuple[np.ndarray, float]:
        return nan_to_mean(signal), rate


@register_step("nan_to_zero")
class NanToZero(Step):
    """0 mV, which is no ECG's baseline: for models that were trained so."""

    fills_nan = True

    def __call__(self, signal: np.ndarray, rate: float, contract_rate: float) -> tuple[np.ndarray, float]:
        return np.nan_to_num(signal, nan=0.0, posinf=0.0, neginf=0.0), rate
