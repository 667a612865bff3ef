"""MERL: which report of the batch is an ECG's, and which of two views of all ECGs is its other one."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.criteria.base import CountingCriterion, CriterionOutput
from ecg_signals.criteria.contrastive import similarities, unit
from ecg_signals.criteria.labels import logged, sample_size_of
from ecg_signals.registry import register_criterion
from ecg_signals.runtime.collectives import gather_with_place


@dataclass
class MerlCriterionConfig(BaseConfig):
    temp: float = option(0.07, "temperature of both softmaxes", above=0)


@register_criterion("merl", dataclass=MerlCriterionConfig)
class MerlCriterion(CountingCriterion):
    """Cross entropy of ECGs among reports and of reports among ECGs, and the same of two views; summed over ECGs.

    `sample_size` counts ECGs; others are those of all ranks. Source: Liu et al. 2024, arXiv:2403.06659.
    """

    cfg: MerlCriterionConfig

    def forward(self, model: nn.Module, batch: dict[str, Any]) -> CriterionOutput:
        """batch: net_input with `text` (dataset ecg_reports), or with vectors `text_pooled` [items, text_dim].

        These may also stand in `label` (task.label_file). Raises: ConfigError without any.
        """
        net_input = dict(batch["net_input"])
        if "text" not in net_input and "text_pooled" not in net_input:
            net_input["text_pooled"] = batch.get("label")
            if net_input["text_pooled"] is None:
                raise ConfigError(
                    "the batch has no reports: take dataset._name=ecg_reports, or set task._name=ecg_classification "
                    "and task.label_file to a .npy of a language model's vectors, one row a record"
                )
        output = model(**net_input)
        told, correct = self.compared(output["projected"], output["projected_text"])
        alike, _ = self.compared(output["view_1"], output["view_2"])
        items = len(output["projected"])
        logs = logged(told + alike, batch, correct=correct, count=items, cma=told.detach(), uma=alike.detach())
        return CriterionOutput(told + alike, sample_size_of(batch, items), logs)

    def compared(self, rows: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of rows among others and the reverse, summed, and how many rows are nearest to their own."""
        first, second = unit(rows), unit(others)
        loss, correct = first.new_zeros(()), []
        for one, other in ((first, second), (second, first)):
            every, begin = gather_with_place(other) if self.training else (other, 0)
            logits, own = similarities(one, self.cfg.temp, every), begin + torch.arange(len(one), device=one.device)
            loss = loss + F.cross_entropy(logits, own, reduction="sum")
            correct.append((logits.detach().argmax(dim=1) == own).sum())
        return loss, correct[0]
