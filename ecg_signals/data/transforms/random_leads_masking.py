"""Random lead masking: whole leads become zero."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ecg_signals.config import BaseConfig, option
from ecg_signals.data.transforms.base import Transform
from ecg_signals.data.transforms.rng import Rng, integers
from ecg_signals.registry import register_transform
from ecg_signals.signal.leads import LIMB_LEADS


@dataclass
class RandomLeadsMaskingConfig(BaseConfig):
    mask_leads_selection: str = option(
        "random", "each lead by chance, or fixed numbers of them", choices=("random", "conditional")
    )
    mask_leads_prob: float = option(
        0.5, "chance of a lead to be masked when mask_leads_selection is random", least=0, most=1
    )
    mask_leads_condition: tuple[int, int] = option(
        (4, 5),
        "limb leads and chest leads masked when mask_leads_selection is conditional",
        least=0,
        most=len(LIMB_LEADS),
    )


@register_transform("random_leads_masking", dataclass=RandomLeadsMaskingConfig)
class RandomLeadsMasking(Transform):
    """Each lead is lost by chance, so that none is sure to survive, or fixed numbers of limb and chest leads.

    Source: Oh et al. 2022, Lead-agnostic Self-supervised Learning, arXiv:2203.06889.
    """

    cfg: RandomLeadsMaskingConfig
    loses_leads = True

    def __call__(self, signal: np.ndarray, rng: Rng, leads: Sequence[int]) -> np.ndarray:
        return keep_leads(signal, self._kept(rng, leads))

    def change(self, signal: np.ndarray, rng: Rng, leads: Sequence[int]) -> np.ndarray:
        signal[~self._kept(rng, leads)] = 0
        return signal

    def _kept(self, rng: Rng, leads: Sequence[int]) -> np.ndarray:
        """[leads] True for those that stay."""
        if self.cfg.mask_leads_selection == "conditional":
            return self._kept_by_number(rng, leads)
        return rng.uniform(size=len(leads)) >= self.cfg.mask_leads_prob

    def _kept_by_number(self, rng: Rng, leads: Sequence[int]) -> np.ndarray:
        """[leads]; drawn without replacement. Where a selection holds fewer leads of a kind, all of them go."""
        kept = np.ones(len(leads), dtype=bool)
        for chest, count in zip((False, True), self.cfg.mask_leads_condition, strict=True):
            rows = [row for row, lead in enumerate(leads) if (lead >= len(LIMB_LEADS)) is chest]
            for _ in range(min(count, len(rows))):
                kept[rows.pop(int(integers(rng, len(rows))))] = False
        return kept


def keep_leads(signal: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """`signal` [leads, samples], any unit, with zeros where `kept` [leads] is False."""
    masked = np.zeros(signal.shape, dtype=np.float32)
    for lead in np.flatnonzero(kept).tolist():
        masked[lead] = signal[lead]
    return masked
