"""ArcFace: cross entropy over identities with a margin added to the angle of the right one."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecg_signals.config import BaseConfig, option
from ecg_signals.criteria.base import CountingCriterion, CriterionOutput
from ecg_signals.criteria.labels import logged, sample_size_of
from ecg_signals.metrics.logits import COSINES
from ecg_signals.registry import register_criterion


@dataclass
class ArcFaceConfig(BaseConfig):
    """Defaults are fairseq-signals'; Deng et al. 2019, arXiv:1801.07698, take a scale of 64."""

    scale: float = option(32.0, "factor of the cosines before the softmax")
    margin: float = option(0.5, "radians added to the angle between an item and its identity")


@register_criterion("arcface", dataclass=ArcFaceConfig)
class ArcFaceCriterion(CountingCriterion):
    """Summed over items; `sample_size` is their number. `logits` are cosines, `label` is the identity's number.

    Validation items belong to people the model was not trained on: their cosines go to the task, which compares them.

    Source: Deng et al. 2019, ArcFace, arXiv:1801.07698.
    """

    dataset = "identification"
    logits = COSINES
    cfg: ArcFaceConfig

    def forward(self, model: nn.Module, batch: dict[str, Any]) -> CriterionOutput:
        cosine = model(**batch["net_input"])["logits"].float()  # [items, identities]
        label = batch["label"].reshape(-1)
        known = (label >= 0) & (label < cosine.size(-1))  # NaN and identities of a validation set are not
        target = torch.where(known, label, torch.zeros_like(label)).long()
        logits = self.cfg.scale * add_margin(cosine, target, self.cfg.margin)
        loss = F.cross_entropy(logits, target, reduction="none").masked_fill(~known, 0.0).sum()
        correct = ((cosine.argmax(dim=-1) == target) & known).sum()
        logs = logged(loss, batch, correct=correct, count=known.sum())
        scores: dict[str, Tensor] = {}
        if not self.training and "patient_id" in batch:
            scores = {"logits": cosine, "patient_id": batch["patient_id"].reshape(len(cosine), -1)}
        return CriterionOutput(loss, sample_size_of(batch, len(cosine)), logs, scores)


def add_margin(cosine: Tensor, target: Tensor, margin: float) -> Tensor:
    """cosine [items, classes] with the target's entry cos(angle) replaced by cos(angle + margin).

    Where angle + margin would exceed a half turn, by cos(angle) - margin * sin(margin), so that it keeps falling.
    """
    right = cosine.gather(1, target[:, None])  # [items, 1]
    sine = (1 - right.square()).clamp(min=1e-12).sqrt()
    turned = right * math.cos(margin) - sine * math.sin(margin)
    moved = torch.where(right > math.cos(math.pi - margin), turned, right - margin * math.sin(margin))
    return cosine.scatter(1, target[:, None], moved)
