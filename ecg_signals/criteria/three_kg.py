"""3KG: views of one patient's ECGs attract each other, those of other patients repel."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ecg_signals.config import option
from ecg_signals.criteria.base import CountingCriterion, CriterionOutput
from ecg_signals.criteria.contrastive import GATHER_HELP, ContrastConfig, hide, pooled_rows, similarities
from ecg_signals.criteria.labels import logged, sample_size_of
from ecg_signals.registry import register_criterion
from ecg_signals.runtime.collectives import gather_rows


@dataclass
class ThreeKGConfig(ContrastConfig):
    all_gather: bool = option(False, GATHER_HELP, follows="model.all_gather")


@register_criterion("3kg", dataclass=ThreeKGConfig)
class ThreeKGCriterion(CountingCriterion):
    """Summed over (row, other row of the same patient); `sample_size` is the number of rows.

    With `all_gather` every rank computes the loss of the rows of all ranks.
    Each pair is told apart from the rows of other patients; the patient's further rows are left out.

    Source: Gopal et al. 2021, 3KG: Contrastive Learning of 12-Lead Electrocardiograms, arXiv:2106.04452.
    """

    dataset = "three_kg_views"
    cfg: ThreeKGConfig

    def forward(self, model: nn.Module, batch: dict[str, Any]) -> CriterionOutput:
        rows = pooled_rows(model, batch, self.cfg.eps)  # [rows, dim]
        patient = batch["patient_id"].reshape(-1)
        if self.cfg.all_gather and self.training:
            rows, patient = gather_rows(rows), gather_rows(patient)
        same = patient[:, None] == patient  # [rows, rows]
        pairs = same & ~torch.eye(len(rows), dtype=torch.bool, device=rows.device)
        similarity = similarities(rows, self.cfg.temp)
        negatives = hide(similarity, same)
        rest = negatives.logsumexp(dim=1, keepdim=True)  # [rows, 1]
        losses = torch.logaddexp(rest, similarity) - similarity
        loss = losses.masked_fill(~pairs, 0.0).sum()
        ahead = similarity.detach() > negatives.detach().amax(dim=1, keepdim=True)
        logs = logged(loss, batch, correct=(ahead & pairs).sum(), count=pairs.sum())
        return CriterionOutput(loss, sample_size_of(batch, len(rows)), logs)
