"""Random lead masking that standardises what is left."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ecg_signals.config import BaseConfig, option
from ecg_signals.data.transforms.base import Transform
from ecg_signals.data.transforms.random_leads_masking import keep_leads
from ecg_signals.data.transforms.rng import Rng
from ecg_signals.registry import register_transform
from ecg_signals.signal.standardise import standardise_leads


@dataclass
class RlmConfig(BaseConfig):
    rlm_prob: float = option(0.3, "chance of a lead to be zeroed by rlm", least=0, most=1, ours=True)


@register_transform("rlm", dataclass=RlmConfig)
class Rlm(Transform):
    """Each lead is lost by chance; the others are standardised together. All may be lost.

    Source: MTAE+RLM of Na et al. 2024, ST-MEM, arXiv:2402.09450, after Oh et al. 2022, arXiv:2203.06889.
    """

    cfg: RlmConfig
    loses_leads = True

    def __call__(self, signal: np.ndarray, rng: Rng, leads: Sequence[int]) -> np.ndarray:
        kept = rng.uniform(size=len(signal)) >= self.cfg.rlm_prob
        masked = keep_leads(signal, kept)
        masked[kept] = standardise_leads(signal[kept].reshape(1, -1)).reshape(-1, signal.shape[-1]) if kept.any() else 0
        return masked
