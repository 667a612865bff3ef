"""JEPA's loss: the distance between predicted and target features of the masked patches."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from ecg_signals.config import BaseConfig, option
from ecg_signals.criteria.base import BaseCriterion, CriterionOutput, Logs
from ecg_signals.registry import register_criterion

SPREADS = ("target_std", "predicted_std")


DISTANCES: dict[str, Callable[..., Tensor]] = {"l1": F.l1_loss, "smooth_l1": F.smooth_l1_loss}


@dataclass
class JepaCriterionConfig(BaseConfig):
    distance: str = option("l1", "of two features: absolute, or square below 1", choices=tuple(DISTANCES))


@register_criterion("jepa", dataclass=JepaCriterionConfig)
class JepaCriterion(BaseCriterion):
    """Mean distance over the masked patches of an item, summed over items; `sample_size` counts items.

    Masked patches that are padding do not count. Validation draws masks as well, the same ones every time.
    """

    cfg: JepaCriterionConfig
    dataset = "jepa_dump"

    def forward(self, model: nn.Module, batch: dict[str, Any]) -> CriterionOutput:
        """batch: net_input, which may hold mask_encoder [batch, k] and mask_predictor [batch, m]."""
        output = model(**batch["net_input"], mask=True)
        distance = DISTANCES[self.cfg.distance]
        errors = distance(output["predicted"].float(), output["target"].float(), reduction="none").mean(dim=-1)
        padded = output.get("padding_mask")
        counted = errors.new_ones(errors.shape)  # [batch, m]
        if padded is not None:
            counted = (~padded.gather(1, output["mask_predictor"])).to(errors)
        loss = ((errors * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1)).sum()
        items = len(errors)
        logs: Logs = {"loss": loss.detach(), "nsignals": float(items)}
        logs |= {key: spread(output[key.removesuffix("_std")]) * items for key in SPREADS}
        return CriterionOutput(loss, sample_size=items, logs=logs)

    def metrics(self, logs: Mapping[str, float], scores: Mapping[str, np.ndarray]) -> dict[str, float]:
        """The distance's name is the loss as published, not in bits; target_std and predicted_std are 0 once features
        collapse."""
        out, size = super().metrics(logs, scores), logs.get("sample_size", 0.0) or 1.0
        names = {"loss": self.cfg.distance}
        found = {names.get(key, key): logs[key] / size for key in ("loss", *SPREADS) if key in logs}
        return out | found


def spread(features: Tensor) -> Tensor:
    """[] standard deviation over the patches of a batch, mean over the values of a patch; 0 where all are alike."""
    return features.detach().float().flatten(0, 1).std(dim=0, unbiased=False).mean()
