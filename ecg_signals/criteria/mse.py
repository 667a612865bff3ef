"""Squared error of a regression."""

from typing import Any

from torch import nn

from ecg_signals.config import BaseConfig
from ecg_signals.criteria.base import BaseCriterion, CriterionOutput
from ecg_signals.criteria.labels import label_matrix, logged, sample_size_of
from ecg_signals.metrics.logits import VALUES
from ecg_signals.registry import register_criterion


@register_criterion("mse", dataclass=BaseConfig)
class MSECriterion(BaseCriterion):
    """Summed over all known (item, target) pairs; `sample_size` is their number. Printed in bits, as all losses."""

    logits = VALUES

    def forward(self, model: nn.Module, batch: dict[str, Any]) -> CriterionOutput:
        prediction = model(**batch["net_input"])["logits"].float()  # [items, targets]
        target, known = label_matrix(prediction, batch)
        loss = (prediction - target).square().masked_fill(~known, 0.0).sum()
        return CriterionOutput(loss, sample_size_of(batch, known.sum()), logged(loss, batch))
