"""Identification: cosines between a unit-norm embedding and one unit-norm vector per person."""

import torch.nn.functional as F
from torch import Tensor

from ecg_signals.metrics.logits import COSINES
from ecg_signals.models.base import ModelOutput
from ecg_signals.models.encoders.ecg_transformer import ECGTransformer
from ecg_signals.models.heads.ecg_transformer_classifier import ECGTransformerFinetuneConfig
from ecg_signals.models.heads.finetuned import FinetunedModel
from ecg_signals.modules.heads import cosines, label_vectors
from ecg_signals.modules.pooling import pool_frames
from ecg_signals.registry import register_model


@register_model("arcface", dataclass=ECGTransformerFinetuneConfig)
class ArcFace(FinetunedModel):
    """`pooled` has norm 1; `logits` are cosines in [-1, 1], to which the criterion adds margin and scale.

    With pooling=nonzero padded frames are pooled, too, as in fairseq-signals.
    Source: Deng et al. 2019, ArcFace, arXiv:1801.07698.
    """

    cfg: ECGTransformerFinetuneConfig
    encoder_class = ECGTransformer
    logit_kind = COSINES

    def __init__(self, cfg: ECGTransformerFinetuneConfig) -> None:
        super().__init__(cfg)
        self.kernel = label_vectors(cfg.encoder_embed_dim, cfg.num_labels)

    def head(self, encoded: ModelOutput, source: Tensor, padding_mask: Tensor | None) -> ModelOutput:
        features = self.final_dropout(encoded["features"])
        padding = None if self.cfg.pooling == "nonzero" else encoded["padding_mask"]
        pooled = F.normalize(pool_frames(features, padding, self.cfg.pooling), dim=-1)
        encoded.update(features=features, pooled=pooled, logits=cosines(pooled, self.kernel), out=pooled)
        return encoded
