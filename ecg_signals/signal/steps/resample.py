"""Bring a signal to another rate."""

from dataclasses import dataclass

import numpy as np

from ecg_signals.config import BaseConfig, option
from ecg_signals.registry import register_step
from ecg_signals.signal.resample import resample_fourier, resample_linear
from ecg_signals.signal.steps.base import Step


@dataclass
class ResampleConfig(BaseConfig):
    to: float | None = option(None, "Hz; None: the contract's rate")
    method: str = option("linear", "as fairseq-signals, or as scipy.signal.resample", choices=("linear", "fourier"))


@register_step("resample", dataclass=ResampleConfig)
class Resample(Step):
    cfg: ResampleConfig

    def __call__(self, signal: np.ndarray, rate: float, contract_rate: float) -> tuple[np.ndarray, float]:
        to = contract_rate if self.cfg.to is None else self.cfg.to
        return (resample_linear if self.cfg.method == "linear" else resample_fourier)(signal, rate, to), to
