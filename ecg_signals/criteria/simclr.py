"""SimCLR: two views of one ECG attract each other, all other views of the batch repel."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ecg_signals.config import ConfigError, option
from ecg_signals.criteria.base import CountingCriterion, CriterionOutput
from ecg_signals.criteria.contrastive import ContrastConfig, hide, pooled_rows, similarities
from ecg_signals.criteria.labels import logged, sample_size_of
from ecg_signals.registry import register_criterion


@dataclass
class SimCLRConfig(ContrastConfig):
    own_term: str = option(
        "none", "what a view's likeness to itself leaves among the others; published by Mehari and Strodthoff 2022: "
        "e^(1/temp) - e, as e was subtracted in place of e^(1/temp)", choices=("none", "published"), ours=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        if self.own_term == "published" and not 0 < self.temp < 1:
            raise ConfigError(f"criterion.temp={self.temp} with criterion.own_term=published; set it between 0 and 1")

    @property
    def left(self) -> float | None:
        """The logarithm of what is left, None for nothing."""
        if self.own_term == "none":
            return None
        return 1 / self.temp + math.log1p(-math.exp(1 - 1 / self.temp))


@register_criterion("simclr", dataclass=SimCLRConfig)
class SimCLRCriterion(CountingCriterion):
    """Summed over rows; `sample_size` is their number. Rows 2i and 2i + 1 of the batch are views of one ECG.

    Source: Chen et al. 2020, A Simple Framework for Contrastive Learning of Visual Representations, arXiv:2002.05709.
    """

    dataset = "perturbed_views"
    cfg: SimCLRConfig

    def forward(self, model: nn.Module, batch: dict[str, Any]) -> CriterionOutput:
        rows = pooled_rows(model, batch, self.cfg.eps)  # [2 * items, dim]
        number = torch.arange(len(rows), device=rows.device)
        assert len(rows) % 2 == 0, f"{len(rows)} rows cannot be pairs of views"
        similarity = hide(similarities(rows, self.cfg.temp), number[:, None] == number)
        positive = similarity[number, number ^ 1]
        left = self.cfg.left
        among = similarity if left is None else similarity.masked_fill(number[:, None] == number, left)
        loss = (among.logsumexp(dim=1) - positive).sum()
        others = hide(similarity.detach(), (number ^ 1)[:, None] == number)
        correct = (positive.detach() > others.amax(dim=1)).sum()
        logs = logged(loss, batch, correct=correct, count=len(rows))
        return CriterionOutput(loss, sample_size_of(batch, len(rows)), logs)
