"""MoCo: which key, among those of a queue, is that of the other view."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ecg_signals.config import BaseConfig, option
from ecg_signals.criteria.base import CountingCriterion, CriterionOutput
from ecg_signals.criteria.contrastive import similarities, unit
from ecg_signals.criteria.labels import logged, sample_size_of
from ecg_signals.registry import register_criterion


@dataclass
class MocoCriterionConfig(BaseConfig):
    temp: float = option(
        0.07, "temperature of the softmax over keys; published for ECG: 0.00229, the learning rate", above=0
    )


@register_criterion("moco", dataclass=MocoCriterionConfig)
class MocoCriterion(CountingCriterion):
    """Cross entropy over an ECG's own key and those of the queue, summed; `sample_size` counts ECGs.

    Source: He et al. 2020, Momentum Contrast for Unsupervised Visual Representation Learning, arXiv:1911.05722.
    """

    dataset = "perturbed_views"
    cfg: MocoCriterionConfig

    def forward(self, model: nn.Module, batch: dict[str, Any]) -> CriterionOutput:
        output = model(**batch["net_input"], compare=True)
        query, key = unit(output["projected"]), output["target"].float()
        positive = (query * key).sum(dim=1, keepdim=True) / self.cfg.temp
        logits = torch.cat([positive, similarities(query, self.cfg.temp, output["queue"].float())], dim=1)
        loss = (logits.logsumexp(dim=1) - logits[:, 0]).sum()
        correct = (logits.detach().argmax(dim=1) == 0).sum()
        return CriterionOutput(
            loss, sample_size_of(batch, len(query)), logged(loss, batch, correct=correct, count=len(query))
        )
