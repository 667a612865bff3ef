"""wav2vec 2.0 and CMSC together: the loss of ECG-FM."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from torch import Tensor

from ecg_signals.config import dotted, option, parse_literal
from ecg_signals.criteria.cmsc import cmsc_loss
from ecg_signals.criteria.contrastive import GATHER_HELP, ContrastConfig, unit_rows
from ecg_signals.criteria.wav2vec2 import Wav2Vec2Criterion, Wav2Vec2CriterionConfig
from ecg_signals.modules.pooling import pool_frames
from ecg_signals.registry import register_criterion


@dataclass
class Wav2Vec2WithCMSCConfig(ContrastConfig, Wav2Vec2CriterionConfig):
    all_gather: bool = option(False, GATHER_HELP, follows="model.all_gather")
    cmsc_weights: float | None = option(None, "weight of the contrast between segments; None: 1")
    cmsc_masked_frames: bool = option(True, "pool masked frames too, as published; false: the others only", ours=True)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], where: str = "") -> Self:
        """A list of one weight, which recipes and files of earlier versions hold, is that weight."""
        given = values.get("cmsc_weights")
        if isinstance(given, str) and given.strip()[:1] in ("[", "("):
            given = parse_literal(given, dotted(where, "cmsc_weights"))
        if isinstance(given, (list, tuple)) and len(given) == 1:
            values = {**values, "cmsc_weights": given[0]}
        return super().from_mapping(values, where)


@register_criterion("wav2vec2_with_cmsc", dataclass=Wav2Vec2WithCMSCConfig)
class Wav2Vec2WithCMSCCriterion(Wav2Vec2Criterion):
    """Adds the contrast between pooled segments, of the same masked forward pass, to wav2vec 2.0's terms.

    Source: Oh et al. 2022, Lead-agnostic Self-supervised Learning, arXiv:2203.06889.
    """

    dataset = "cmsc"
    cfg: Wav2Vec2WithCMSCConfig

    def further_terms(self, output: Mapping[str, Any], batch: dict[str, Any]) -> list[Tensor]:
        terms = super().further_terms(output, batch)
        weight = 1.0 if self.cfg.cmsc_weights is None else self.cfg.cmsc_weights
        if weight == 0:
            return terms
        rows = unit_rows(self.pooled(output), self.cfg.eps)  # [items, dim]
        gather = self.cfg.all_gather and self.training
        return [*terms, weight * cmsc_loss(rows, batch, self.cfg.temp, gather=gather)]

    def pooled(self, output: Mapping[str, Any]) -> Tensor:
        """Mean over frames of the masked pass's encoder output, padding left out, [items, dim] float32."""
        if self.cfg.cmsc_masked_frames:
            return output["masked_pooled"].float()
        left_out = output["mask_indices"].to(output["masked_features"].device)  # [items, frames]
        if output["padding_mask"] is not None:
            left_out = left_out | output["padding_mask"]
        return pool_frames(output["masked_features"].float(), left_out)
