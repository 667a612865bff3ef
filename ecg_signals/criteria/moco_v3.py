"""MoCo v3: which key of all in the batch is that of the other view."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ecg_signals.config import BaseConfig, option
from ecg_signals.criteria.base import CountingCriterion, CriterionOutput
from ecg_signals.criteria.contrastive import similarities, two_views, unit
from ecg_signals.criteria.labels import logged, sample_size_of
from ecg_signals.registry import register_criterion
from ecg_signals.runtime.collectives import gather_with_place


@dataclass
class MocoV3CriterionConfig(BaseConfig):
    temp: float = option(0.2, "temperature of the softmax over keys", above=0)


@register_criterion("moco_v3", dataclass=MocoV3CriterionConfig)
class MocoV3Criterion(CountingCriterion):
    """2 temp (cross entropy of first views among second ones' keys, and the reverse), summed over ECGs.

    `sample_size` counts ECGs; keys are those of all ranks and pass no gradient.
    Source: Chen et al. 2021, An Empirical Study of Training Self-Supervised Vision Transformers, arXiv:2104.02057.
    """

    dataset = "perturbed_views"
    cfg: MocoV3CriterionConfig

    def forward(self, model: nn.Module, batch: dict[str, Any]) -> CriterionOutput:
        output = model(**batch["net_input"], compare=True)
        queries, keys = two_views(unit(output["predicted"])), unit(output["target"]).detach()
        keys, first = gather_with_place(keys) if self.training else (keys, 0)
        items, losses, correct = len(queries[0]), [], []
        own = first // 2 + torch.arange(items, device=keys.device)
        for query, key in zip(queries, reversed(two_views(keys))):
            logits = similarities(query, self.cfg.temp, key)
            losses.append(2 * self.cfg.temp * F.cross_entropy(logits, own, reduction="sum"))
            correct.append((logits.detach().argmax(dim=1) == own).sum())
        loss = losses[0] + losses[1]
        logs = logged(loss, batch, correct=correct[0] + correct[1], count=2 * items)
        return CriterionOutput(loss, sample_size_of(batch, items), logs)
