"""HuBERT's pretraining loss: name the cluster of every frame, masked and unmasked frames weighed by `alpha`."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.criteria.base import BaseCriterion, CriterionOutput
from ecg_signals.metrics.counts import ratio
from ecg_signals.registry import register_criterion


@dataclass
class HubertPretrainingConfig(BaseConfig):
    alpha: float = option(1.0, "weight of masked frames, 0 to 1; unmasked frames weigh 1 - alpha")
    loss_on_padding: bool = option(False, "count frames of padding as well, as published")


@register_criterion("hubert_pretraining", dataclass=HubertPretrainingConfig)
class HubertPretraining(BaseCriterion):
    """Cross entropy of the cluster logits, summed over heads; `sample_size` counts frames.

    Per head and frame the loss is alpha * (mean over masked frames) + (1 - alpha) * (mean over unmasked frames). In
    evaluation nothing is masked and all frames weigh the same.
    """

    dataset = "hubert_csv"
    cfg: HubertPretrainingConfig

    def __init__(self, cfg: HubertPretrainingConfig) -> None:
        super().__init__(cfg)
        if not 0 <= cfg.alpha <= 1:
            raise ConfigError(
                f"criterion.alpha is {cfg.alpha}; set criterion.alpha between 0 (unmasked) and 1 (masked frames)"
            )

    def prepare(self, model: nn.Module, dataset: Any) -> None:
        """Raises: ConfigError when the model's heads are not those of the data's cluster targets."""
        found, wanted = list(model.cfg.vocab_sizes), list(dataset.vocab_sizes)  # type: ignore[union-attr,arg-type]
        if found != wanted:
            listed = "[" + ",".join(map(str, wanted)) + "]"
            raise ConfigError(
                f"model.vocab_sizes is {found}, but the cluster targets in dataset.targets have {wanted} clusters; "
                f"set model.vocab_sizes={listed}"
            )

    def forward(self, model: nn.Module, batch: dict[str, Any]) -> CriterionOutput:
        """batch: net_input (may hold mask_time_indices [batch, frames]) and cluster_labels [batch, (heads,) frames]."""
        net_input = batch["net_input"]
        masking = self.training or "mask_time_indices" in net_input
        output = model(**net_input, mask=True) if masking else model(**net_input, heads=True)
        logits, labels = output["cluster_logits"], batch["cluster_labels"].long()
        labels = labels[:, None] if labels.dim() == 2 else labels
        if labels.shape[1] != len(logits):
            raise ConfigError(
                f"the batch has {labels.shape[1]} cluster targets per frame, but the model has {len(logits)} "
                f"heads; set model.vocab_sizes to one entry per k-means model"
            )
        mask = output["mask_time_indices"] if masking else None
        counted, weight = self._weights(logits[0], output["padding_mask"], mask)
        losses = logits[0].new_zeros(())
        logs: dict[str, float | Tensor] = {"correct": 0.0, "masked_nll": 0.0}
        shown = counted if mask is None else counted * mask
        for head, predicted in enumerate(logits):
            nll = F.cross_entropy(predicted.flatten(0, 1), labels[:, head].flatten(), reduction="none").view_as(weight)
            losses = losses + (nll * weight).sum()
            logs["correct"] = logs["correct"] + ((predicted.argmax(-1) == labels[:, head]) * shown).sum().detach()
            logs["masked_nll"] = logs["masked_nll"] + (nll.detach() * shown).sum()
        logs |= {"loss": losses.detach(), "frames": shown.sum(), "predictions": shown.sum() * len(logits)}
        logs["nsignals"] = float(len(labels))
        return CriterionOutput(losses, sample_size=counted.sum(), logs=logs)

    def _weights(self, like: Tensor, padding: Tensor | None, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Which frames count, and by how much, both [batch, frames]; the weights add up to the number that count."""
        counted = like.new_ones(like.shape[:2])  # [batch, frames]
        if padding is not None and not self.cfg.loss_on_padding:
            counted = counted.masked_fill(padding, 0.0)
        if mask is None:
            return counted, counted
        masked, unmasked = counted * mask, counted * ~mask
        weight = self.cfg.alpha * masked / masked.sum().clamp(min=1)
        weight = weight + (1 - self.cfg.alpha) * unmasked / unmasked.sum().clamp(min=1)
        return counted, weight * counted.sum()

    def metrics(self, logs: Mapping[str, float], scores: Mapping[str, np.ndarray]) -> dict[str, float]:
        """`masked_loss` (bits, summed over heads) and `accuracy` are over masked frames in training, else over all."""
        out = super().metrics(logs, scores)
        out["masked_loss"] = ratio(logs.get("masked_nll", 0.0), logs.get("frames", 0.0)) / math.log(2)
        out["accuracy"] = ratio(logs.get("correct", 0.0), logs.get("predictions", 0.0))
        return out
