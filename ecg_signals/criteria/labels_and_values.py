"""Labels and values of one head: cross entropy of the first columns, absolute error of the last ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.criteria.base import BaseCriterion, CriterionOutput
from ecg_signals.criteria.labels import label_matrix, logged
from ecg_signals.metrics.logits import labels_and_values
from ecg_signals.metrics.summary import means
from ecg_signals.registry import register_criterion


@dataclass
class LabelsAndValuesConfig(BaseConfig):
    values: int = option(1, "how many of the last columns are values; those before them are labels", least=1)


@register_criterion("labels_and_values", dataclass=LabelsAndValuesConfig)
class LabelsAndValuesCriterion(BaseCriterion):
    """The mean over labels of their mean cross entropies, plus the mean over values of their mean absolute errors.

    A column counts by its known items alone, and not at all in a batch without any. `sample_size` is 1 for a batch.
    After a validation also `auroc`, `mae`, and `selection`, (1 - auroc) + mae, by which the best state is chosen; the
    values should be standardised.

    Source: Al-Masud et al. 2025, Benchmarking ECG Foundational Models, arXiv:2509.25095.
    """

    cfg: LabelsAndValuesConfig

    def __init__(self, cfg: LabelsAndValuesConfig) -> None:
        super().__init__(cfg)
        self.logits = labels_and_values(cfg.values)

    @classmethod
    def logits_of(cls, options: Mapping[str, Any]) -> str | None:
        values = options.get("values", LabelsAndValuesConfig.values)
        return labels_and_values(values) if isinstance(values, int) and values > 0 else None

    def set_labels(self, labels: list[str]) -> None:
        if labels and len(labels) <= self.cfg.values:
            raise ConfigError(f"criterion.values={self.cfg.values} leaves no label of {len(labels)} columns; set less")

    def forward(self, model: nn.Module, batch: dict[str, Any]) -> CriterionOutput:
        logits = model(**batch["net_input"])["logits"].float()  # [items, columns]
        target, known = label_matrix(logits, batch)
        self.set_labels([""] * logits.shape[1])
        labels, values = slice(None, -self.cfg.values), slice(-self.cfg.values, None)
        entropy = F.binary_cross_entropy_with_logits(logits[:, labels], target[:, labels], reduction="none")
        error = (logits[:, values] - target[:, values]).abs()
        loss = _mean_of_means(entropy, known[:, labels]) + _mean_of_means(error, known[:, values])
        scores = {} if self.training else {"logits": logits, "target": target.masked_fill(~known, torch.nan)}
        return CriterionOutput(loss, 1.0, logged(loss, batch), scores)

    def metrics(self, logs: Mapping[str, float], scores: Mapping[str, np.ndarray]) -> dict[str, float]:
        found = super().metrics(logs, scores)
        if scores:
            found |= means({"auroc": "auroc", "mae": "mae"}, scores, str(self.logits))
            found["selection"] = 1 - found["auroc"] + found["mae"]
        return found


def _mean_of_means(losses: Tensor, known: Tensor) -> Tensor:
    """Over the columns of [items, columns] that have known items, the mean of these; 0 without any."""
    counts = known.sum(dim=0)
    columns = losses.masked_fill(~known, 0.0).sum(dim=0) / counts.clamp(min=1)
    return columns.sum() / (counts > 0).sum().clamp(min=1)
