"""Bring values to a scale."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.registry import register_step
from ecg_signals.signal.standardise import CONSTANT_LEADS, centre_leads, scale_leads
from ecg_signals.signal.steps.base import Leads, Step


def typical(measure: Callable[[np.ndarray], float], records: list[Leads]) -> float:
    return float(np.median([measure(lead) for record in records for lead in record]))


@dataclass
class StandardiseConfig(BaseConfig):
    constant: str = option("zero", "what a flat lead becomes", choices=CONSTANT_LEADS)
    jointly: bool = option(False, "one mean and deviation of all leads together")
    epsilon: float = option(0.0, "added to the deviation", least=0)
    variance_eps: float = option(0.0, "added to the variance, as layer norms do", least=0)


@register_step("standardise", dataclass=StandardiseConfig)
class Standardise(Step):
    """Mean 0 and standard deviation 1 of each lead, or of all leads together."""

    cfg: StandardiseConfig
    values = "z-scores"

    def __call__(self, signal: np.ndarray, rate: float, contract_rate: float) -> tuple[np.ndarray, float]:
        rows = signal.reshape(1, -1) if self.cfg.jointly else signal
        _, spread, centred = centre_leads(rows)
        if self.cfg.variance_eps:
            spread = np.sqrt(np.square(spread) + self.cfg.variance_eps)
        return scale_leads(centred, spread + self.cfg.epsilon, self.cfg.constant).reshape(signal.shape), rate

    def problem(self, records: list[Leads]) -> str | None:
        if self.cfg.jointly:
            spread = float(np.median([np.concatenate(record).std() for record in records]))
            kind, offset = "all leads together", 0.0
        else:
            spread, offset = typical(np.std, records), typical(lambda lead: abs(lead.mean()), records)
            kind = "each lead"
        if 0.5 < spread < 2 and offset <= 1:
            return None
        found = f"source has the standard deviation {spread:.3g}"
        return f"{found}; the model was trained on z-scores of {kind} (deviation 1)"


@register_step("min_max")
class MinMax(Step):
    """All leads together to [0, 1], by the smallest and the largest value; a flat signal becomes 0."""

    values = "scaled to [0, 1]"

    def __call__(self, signal: np.ndarray, rate: float, contract_rate: float) -> tuple[np.ndarray, float]:
        low = signal.min()
        return (signal - low) / (signal.max() - low + 1e-8), rate

    def problem(self, records: list[Leads]) -> str | None:
        low = min(lead.min() for record in records for lead in record)
        high = max(lead.max() for record in records for lead in record)
        if low >= -0.01 and 0.5 < high <= 1.01:
            return None
        return f"source has values from {low:.3g} to {high:.3g}; the model was trained on records scaled to [0, 1]"


@dataclass
class NormaliseConfig(BaseConfig):
    mean: list[float] = option("???", "mV, one per lead of the contract")
    std: list[float] = option("???", "mV, one per lead of the contract")


@register_step("normalise", dataclass=NormaliseConfig)
class Normalise(Step):
    """Minus `mean`, divided by `std`."""

    cfg: NormaliseConfig

    def __call__(self, signal: np.ndarray, rate: float, contract_rate: float) -> tuple[np.ndarray, float]:
        mean, std = self.cfg.mean, self.cfg.std
        if len(mean) != len(signal) or len(std) != len(signal):
            raise ConfigError(
                f"the contract has {len(mean)} means and {len(std)} deviations for {len(signal)} leads; give one of "
                f"each per lead"
            )
        return (signal - np.asarray(mean)[:, None]) / np.asarray(std)[:, None], rate


@dataclass
class ClipConfig(BaseConfig):
    limit: float = option("???", "largest value, and smallest with the other sign")


@register_step("clip", dataclass=ClipConfig)
class Clip(Step):
    """No value beyond `limit`, in either direction; meant behind `normalise`."""

    cfg: ClipConfig
    values = "normalised"

    def __call__(self, signal: np.ndarray, rate: float, contract_rate: float) -> tuple[np.ndarray, float]:
        return np.clip(signal, -self.cfg.limit, self.cfg.limit), rate

    def problem(self, records: list[Leads]) -> str | None:
        peak, limit = max(np.abs(lead).max() for record in records for lead in record), self.cfg.limit
        spread = typical(np.std, records)
        if peak <= limit * 1.001 and 0.3 < spread < 4:
            return None
        found = f"source has the standard deviation {spread:.3g} and a peak of {peak:.3g}"
        return f"{found}; the model was trained on normalised leads (deviation about 1), clipped to +-{limit:g}"
