"""Filters of every lead."""

from dataclasses import dataclass

import numpy as np

from ecg_signals.config import BaseConfig, option
from ecg_signals.registry import register_step
from ecg_signals.signal.filters import butterworth, clean
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
