"""Filters of every lead."""

from dataclasses import dataclass

import numpy as np

from ecg_signals.config import BaseConfig, option
from ecg_signals.registry import register_step
from ecg_signals.signal.filters import butterworth, butterworth_band, clean, notch, without_median
from ecg_signals.signal.steps.base import Step


@register_step("clean")
class Clean(Step):
    """Without baseline wander and 50 Hz hum, as fairseq-signals' `filter`."""

    def __call__(self, signal: np.ndarray, rate: float, contract_rate: float) -> tuple[np.ndarray, float]:
        return clean(signal, rate), rate


@dataclass
class LowPassConfig(BaseConfig):
    cutoff: float = option("???", "Hz")
    order: int = option(5, "of the Butterworth filter, which runs forwards and backwards")


@register_step("low_pass", dataclass=LowPassConfig)
class LowPass(Step):
    """Without what is faster than `cutoff`."""

    cfg: LowPassConfig

    def __call__(self, signal: np.ndarray, rate: float, contract_rate: float) -> tuple[np.ndarray, float]:
        return butterworth(signal, rate, self.cfg.cutoff, "lowpass", self.cfg.order), rate


@dataclass
class HighPassConfig(LowPassConfig):
    direct: bool = option(False, "one transfer function instead of second-order sections; the ends differ a little")


@register_step("high_pass", dataclass=HighPassConfig)
class HighPass(Step):
    """Without what is slower than `cutoff`."""

    cfg: HighPassConfig

    def __call__(self, signal: np.ndarray, rate: float, contract_rate: float) -> tuple[np.ndarray, float]:
        return butterworth(signal, rate, self.cfg.cutoff, "highpass", self.cfg.order, self.cfg.direct), rate


@dataclass
class ButterworthBandConfig(BaseConfig):
    low: float = option("???", "Hz")
    high: float = option("???", "Hz")
    order: int = option(4, "of the Butterworth filter at either edge, which runs forwards and backwards")


@register_step("butterworth_band", dataclass=ButterworthBandConfig)
class ButterworthBand(Step):
    """Without what is slower than `low` or faster than `high`, by one transfer function."""

    cfg: ButterworthBandConfig

    def __call__(self, signal: np.ndarray, rate: float, contract_rate: float) -> tuple[np.ndarray, float]:
        return butterworth_band(signal, rate, self.cfg.low, self.cfg.high, self.cfg.order), rate


@dataclass
class NotchConfig(BaseConfig):
    frequency: float = option("???", "Hz")
    quality: float = option(30.0, "frequency over the width of the band that is removed", above=0)


@register_step("notch", dataclass=NotchConfig)
class Notch(Step):
    """Without hum of one frequency."""

    cfg: NotchConfig

    def __call__(self, signal: np.ndarray, rate: float, contract_rate: float) -> tuple[np.ndarray, float]:
        return notch(signal, rate, self.cfg.frequency, self.cfg.quality), rate


@dataclass
class MedianBaselineConfig(BaseConfig):
    seconds: float = option(0.4, "of the window around every sample", above=0, most=10)


@register_step("median_baseline", dataclass=MedianBaselineConfig)
class MedianBaseline(Step):
    """Without baseline wander: minus the median of the samples around each."""

    cfg: MedianBaselineConfig

    def __call__(self, signal: np.ndarray, rate: float, contract_rate: float) -> tuple[np.ndarray, float]:
        return without_median(signal, rate, self.cfg.seconds), rate
