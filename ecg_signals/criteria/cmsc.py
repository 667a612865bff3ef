"""CMSC (of CLOCS): neighbouring segments of one patient attract each other, those of other patients repel."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ecg_signals.config import option
from ecg_signals.criteria.base import BaseCriterion, CriterionOutput
from ecg_signals.criteria.contrastive import GATHER_HELP, ContrastConfig, hide, pooled_rows, similarities
from ecg_signals.criteria.labels import logged, sample_size_of
from ecg_signals.registry import register_criterion
from ecg_signals.runtime.collectives import gather_rows


@dataclass
class CMSCConfig(ContrastConfig):
    all_gather: bool = option(False, GATHER_HELP, follows="model.all_gather", ours=True)


@register_criterion("cmsc", dataclass=CMSCConfig)
@register_criterion("clocs", dataclass=CMSCConfig)
class CMSCCriterion(BaseCriterion):
    """A mean over the pairs of the batch, so `sample_size` is 1.

    Source: Kiyasseh et al. 2021, CLOCS: Contrastive Learning of Cardiac Signals, arXiv:2005.13249.
    """

    dataset = "cmsc"
    cfg: CMSCConfig

    def forward(self, model: nn.Module, batch: dict[str, Any]) -> CriterionOutput:
        rows = pooled_rows(model, batch, self.cfg.eps)  # [items, dim]
        loss = cmsc_loss(rows, batch, self.cfg.temp, gather=self.cfg.all_gather and self.training)
        return CriterionOutput(loss, sample_size_of(batch, 1.0), logged(loss, batch))


def cmsc_loss(rows: Tensor, batch: dict[str, Any], temp: float, gather: bool = False) -> Tensor:
    """Both directions of the contrast between first and second segments, averaged over (first, second) of one patient.

    Args:
        rows: [items, dim] of length 1.
        batch: holds `patient_id` and `segment` (0 first, 1 second), both [items].
        temp: temperature of the softmax.
        gather: compare over all ranks; every rank then computes the same loss.
    Returns: scalar; 0 when the batch holds no pair.
    """
    patient, segment = batch["patient_id"].reshape(-1), batch["segment"].reshape(-1)
    if gather:
        rows, patient, segment = gather_rows(rows), gather_rows(patient), gather_rows(segment)
    first, second = segment == 0, segment == 1
    pairs = (patient[:, None] == patient) & first[:, None] & second  # [items, items]
    similarity = similarities(rows, temp)
    count = pairs.sum().clamp(min=1)
    forwards = hide(similarity, ~second.expand_as(pairs)).log_softmax(dim=1)
    backwards = hide(similarity, ~first[:, None].expand_as(pairs)).log_softmax(dim=0)
    return -torch.where(pairs, forwards + backwards, 0.0).sum() / (2 * count)
