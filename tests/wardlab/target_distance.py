"""How far predictions are from the slow target's frames."""

from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn import functional as F

from ecg_signals.config import BaseConfig, option
from ecg_signals.criteria.base import BaseCriterion, CriterionOutput
from ecg_signals.registry import register_criterion


@dataclass
class TargetDistanceConfig(BaseConfig):
    beta: float = option(1.0, "distance from which on the loss grows linearly")


@register_criterion("target_distance", dataclass=TargetDistanceConfig)
class TargetDistance(BaseCriterion):
    cfg: TargetDistanceConfig

    def forward(self, model: nn.Module, batch: dict[str, Any]) -> CriterionOutput:
        output = model(**batch["net_input"], mask=True)
        found, wanted = output["prediction"].float(), output["target"].float()
        loss = F.smooth_l1_loss(found, wanted, beta=self.cfg.beta, reduction="sum")
        logs = {"loss": loss.detach(), "nsignals": float(len(batch["id"]))}
        return CriterionOutput(loss, sample_size=found.numel(), logs=logs)
