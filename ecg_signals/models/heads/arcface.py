"""Identification: cosines between a unit-norm embedding and one unit-norm vector per person."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecg_signals.metrics.logits import COSINES
from ecg_signals.models.base import ModelOutput
from ecg_signals.models.heads.ecg_transformer_classifier import ECGTransformerFinetuneConfig, FinetunedECGTransformer
from ecg_signals.modules.pooling import pool_frames
from ecg_signals.registry import register_model


@register_model("arcface", dataclass=ECGTransformerFinetuneConfig)
class ArcFace(FinetunedECGTransformer):
    """`pooled` has norm 1; `logits` are cosines in [-1, 1], to which the criterion adds margin and scale.

    With pooling=nonzero padded frames are pooled, too, as in fairseq-signals.
    Source: Deng et al. 2019, ArcFace, arXiv:1801.07698.
    """

    logit_kind = COSINES

    def __init__(self, cfg: ECGTransformerFinetuneConfig) -> None:
        super().__init__(cfg)
        self.kernel = nn.Parameter(torch.empty(cfg.num_labels, cfg.encoder_embed_dim).uniform_(-1, 1))
        with torch.no_grad():
            self.kernel.copy_(F.normalize(self.kernel, dim=0))  # fairseq-signals scales columns, not rows

    def head(self, encoded: ModelOutput, source: Tensor, padding_mask: Tensor | None) -> ModelOutput:
        features = self.final_dropout(encoded["features"])
        padding = None if self.cfg.pooling == "nonzero" else encoded["padding_mask"]
        pooled = F.normalize(pool_frames(features, padding, self.cfg.pooling), dim=-1)
        cosines = F.linear(pooled, F.normalize(self.kernel, dim=-1)).clamp(-1.0, 1.0)
        encoded.update(features=features, pooled=pooled, logits=cosines, out=pooled)
        return encoded
