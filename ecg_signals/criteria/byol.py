"""BYOL: the angle between what is predicted of a view and what the model's average makes of the other one."""

from typing import Any

from torch import nn

from ecg_signals.config import BaseConfig
from ecg_signals.criteria.base import BaseCriterion, CriterionOutput
from ecg_signals.criteria.contrastive import two_views, unit
from ecg_signals.criteria.labels import logged, sample_size_of
from ecg_signals.registry import register_criterion


@register_criterion("byol", dataclass=BaseConfig)
class ByolCriterion(BaseCriterion):
    """-2 cos(first, second) - 2 cos(second, first) of an ECG's views, summed; `sample_size` counts ECGs.

    It is -4 where every prediction is right. Source: Grill et al. 2020, arXiv:2006.07733, without its constant.
    """

    dataset = "perturbed_views"

    def forward(self, model: nn.Module, batch: dict[str, Any]) -> CriterionOutput:
        output = model(**batch["net_input"], compare=True)
        (h1, h2), (z1, z2) = (two_views(unit(output[key])) for key in ("predicted", "target"))
        loss = -2 * ((h1 * z2).sum() + (h2 * z1).sum())
        return CriterionOutput(loss, sample_size_of(batch, len(h1)), logged(loss, batch))
