"""SimCLR: two views of one ECG attract each other, all other views of the batch repel."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ecg_signals.config import option
from ecg_signals.criteria.base import CountingCriterion, CriterionOutput
from ecg_signals.criteria.contrastive import GATHER_HELP, ContrastConfig, hide, pooled_rows, similarities
from ecg_signals.criteria.labels import logged, sample_size_of
from ecg_signals.registry import register_criterion
from ecg_signals.runtime.collectives import gather_with_place

FLOOR = 1e-6  # of what the published own term leaves, which is negative at high temperatures


@dataclass
class SimCLRConfig(ContrastConfig):
    own_term: str = option(
        "none", "what a view's likeness to itself leaves among the others; published by Mehari and Strodthoff 2022: "
        "e^(1/temp) - e, as e was subtracted in place of e^(1/temp)", choices=("none", "published"), ours=True,
    )  # fmt: skip
    all_gather: bool = option(False, GATHER_HELP, follows="model.all_gather", ours=True)


@register_criterion("simclr", dataclass=SimCLRConfig)
class SimCLRCriterion(CountingCriterion):
    """Summed over rows; `sample_size` is their number. Rows 2i and 2i + 1 of the batch are views of one ECG.

    With `all_gather` the others are those of all ranks, and a rank computes the loss of its own rows.

    Source: Chen et al. 2020, A Simple Framework for Contrastive Learning of Visual Representations, arXiv:2002.05709.
    """

    dataset = "perturbed_views"
    cfg: SimCLRConfig

    def forward(self, model: nn.Module, batch: dict[str, Any]) -> CriterionOutput:
        rows = pooled_rows(model, batch, self.cfg.eps)  # [2 * items, dim]
        assert len(rows) % 2 == 0, f"{len(rows)} rows cannot be pairs of views"
        every, first = gather_with_place(rows) if self.cfg.all_gather and self.training else (rows, 0)
        number, column = (torch.arange(len(part), device=rows.device) for part in (rows, every))
        place = first + number  # of each row among all
        similarity = hide(similarities(rows, self.cfg.temp, every), place[:, None] == column)
        positive = similarity[number, place ^ 1]
        loss = (self.total(similarity) - positive).sum()
        others = hide(similarity.detach(), (place ^ 1)[:, None] == column)
        correct = (positive.detach() > others.amax(dim=1)).sum()
        logs = logged(loss, batch, correct=correct, count=len(rows))
        return CriterionOutput(loss, sample_size_of(batch, len(rows)), logs)

    def total(self, similarity: Tensor) -> Tensor:
        """Logarithm of a softmax's denominator: [rows, all rows], of which a row's own is hidden -> [rows]."""
        others, temp = similarity.logsumexp(dim=1), self.cfg.temp
        if self.cfg.own_term == "none":
            return others
        if temp < 1:
            return others.logaddexp(others.new_tensor(1 / temp + math.log1p(-math.exp(1 - 1 / temp))))
        return (others.exp() + math.exp(1 / temp) - math.e).clamp(min=FLOOR).log()
