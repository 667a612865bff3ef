"""HuBERT-ECG's own way with a record; `ecg_signals.signal.hubert_ecg` says what is peculiar about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ecg_signals.config import BaseConfig, option
from ecg_signals.registry import register_step
from ecg_signals.signal.hubert_ecg import BAND, band_pass, decimate_crop, scale_leads
from ecg_signals.signal.steps.base import Leads, Step
from ecg_signals.signal.steps.scale import typical


@dataclass
class HubertBandPassConfig(BaseConfig):
    low: float = option(BAND[0], "Hz; so short a filter cannot cut there")
    high: float = option(BAND[1], "Hz")


@register_step("hubert_band_pass", dataclass=HubertBandPassConfig)
class HubertBandPass(Step):
    """An FIR filter of 0.3 s, run forwards and backwards: in effect a low-pass at `high`."""

    cfg: HubertBandPassConfig
    earlier = ("band_pass",)

    def __call__(self, signal: np.ndarray, rate: float, contract_rate: float) -> tuple[np.ndarray, float]:
        return band_pass(signal, rate, (self.cfg.low, self.cfg.high)), rate


@register_step("hubert_scale")
class HubertScale(Step):
    """Each lead to [-1, 1) by its own minimum and maximum; a flat one becomes -1."""

    earlier = ("scale",)
    values = "scaled to [-1, 1]"
    table = "hubert_csv"

    def __call__(self, signal: np.ndarray, rate: float, contract_rate: float) -> tuple[np.ndarray, float]:
        return scale_leads(signal), rate

    def problem(self, records: list[Leads]) -> str | None:
        """Leads stretched to [-1, 1] have one span and reach -1; raw ones differ among each other."""
        spans = [np.array([np.ptp(lead) for lead in record]) for record in records]
        uneven = float(np.median([span.std() / span.mean() for span in spans]))
        low, peak = typical(np.min, records), typical(lambda lead: np.abs(lead).max(), records)
        if peak <= 1.5 and (uneven <= 0.3 or abs(low + 1) <= 0.3):
            return None
        return f"source has leads from {low:.3g} with peaks of {peak:.3g}; the model was trained on leads from -1 to 1"


@dataclass
class HubertDecimateConfig(BaseConfig):
    factor: int = option("???", "every how many-th sample stays; divides the samples of a window")
    flat: bool = option(True, "filter the leads laid end to end, as for the released weights, not each by itself")


@register_step("hubert_decimate", dataclass=HubertDecimateConfig)
class HubertDecimate(Step):
    """A Chebyshev low-pass of order 8, and every `factor`-th sample of a window."""

    cfg: HubertDecimateConfig
    earlier = ("decimate",)

    @property
    def factor(self) -> int:
        return self.cfg.factor

    def __call__(self, signal: np.ndarray, rate: float, contract_rate: float) -> tuple[np.ndarray, float]:
        # float32, as from published .npy files
        return decimate_crop(signal.astype(np.float32), self.factor, self.cfg.flat), rate / self.factor


def decimation_of(steps: Sequence[Mapping[str, Any]]) -> tuple[int | None, str]:
    """How the steps of a contract decimate: the factor, and "flat" or "per_lead"; (None, "flat") where they do not."""
    found = next((step for step in steps if step["name"] == "hubert_decimate"), {})
    return found.get("factor"), "flat" if found.get("flat", True) else "per_lead"
