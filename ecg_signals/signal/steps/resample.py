"""Bring a signal to another rate."""

from dataclasses import dataclass

import numpy as np

from ecg_signals.config import BaseConfig, option
from ecg_signals.registry import register_step
from ecg_signals.signal.resample import resample_fourier, resample_halved, resample_linear
from ecg_signals.signal.steps.base import Step

METHODS = {"linear": resample_linear, "fourier": resample_fourier, "halved": resample_halved}


@dataclass
class ResampleConfig(BaseConfig):
    to: float | None = option(None, "Hz; None: the contract's rate")
    method: str = option(
        "linear", "as fairseq-signals; as scipy.signal.resample; linear, but every second sample of twice the rate",
        choices=tuple(METHODS),
    )  # fmt: skip


@register_step("resample", dataclass=ResampleConfig)
class Resample(Step):
    cfg: ResampleConfig

    def __call__(self, signal: np.ndarray, rate: float, contract_rate: float) -> tuple[np.ndarray, float]:
        to = contract_rate if self.cfg.to is None else self.cfg.to
        return METHODS[self.cfg.method](signal, rate, to), to
