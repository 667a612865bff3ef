"""A loss for rare labels: easy negatives count less. Ridnik et al. 2021, arXiv:2009.14119."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ecg_signals.config import BaseConfig, option
from ecg_signals.criteria.base import BaseCriterion, CriterionOutput
from ecg_signals.metrics.summary import summarise_ranking
from ecg_signals.registry import register_criterion


@dataclass
class AsymmetricLossConfig(BaseConfig):
    gamma: float = option(2.0, "focus on hard negatives; 0 gives binary cross entropy")
    margin: float = option(0.05, "negatives below this probability count nothing, 0 to 1")


@register_criterion("asymmetric_loss", dataclass=AsymmetricLossConfig)
class AsymmetricLoss(BaseCriterion):
    def __init__(self, cfg: AsymmetricLossConfig) -> None:
        super().__init__(cfg)
        self.gamma, self.margin = cfg.gamma, cfg.margin

    def forward(self, model: nn.Module, batch: dict[str, Any]) -> CriterionOutput:
        logits = model(**batch["net_input"])["logits"].float()       # [batch, labels]
        target = batch["label"].to(logits)                           # [batch, labels], 0 or 1
        negative = (logits.sigmoid() - self.margin).clamp(min=0)     # probability above the margin
        positive_loss = -target * F.logsigmoid(logits)
        negative_loss = -(1 - target) * negative**self.gamma * torch.log1p(-negative.clamp(max=1 - 1e-6))
        loss = (positive_loss + negative_loss).sum()
        logs = {"loss": loss.detach(), "nsignals": float(len(logits))}
        scores = {} if self.training else {"logits": logits, "target": target}
        return CriterionOutput(loss, sample_size=logits.numel(), logs=logs, scores=scores)

    def metrics(self, logs: Mapping[str, float], scores: Mapping[str, np.ndarray]) -> dict[str, float]:
        areas = summarise_ranking(scores["logits"], scores["target"], "macro") if scores else {}
        return {**super().metrics(logs, scores), **areas}
