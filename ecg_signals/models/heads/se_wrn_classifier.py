"""The wide residual network with squeeze-and-excitation and a linear classifier on its maxima."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from ecg_signals.config import option
from ecg_signals.models.base import ModelOutput
from ecg_signals.models.encoders.residual import check_all_leads
from ecg_signals.models.encoders.se_wrn import SEWRN, SEWRNConfig, group_dims
from ecg_signals.models.heads.finetuned import FinetunedModel, FinetuneOptions
from ecg_signals.modules.centred_conv import batch_norm, to_frames
from ecg_signals.modules.heads import linear
from ecg_signals.modules.pooling import pool_maximum
from ecg_signals.registry import register_model


@dataclass
class SEWRNClassifierConfig(FinetuneOptions, SEWRNConfig):
    final_dropout: float = option(0.3, "of the frames before their maximum", least=0, most=1)


@register_model("se_wrn_classifier", dataclass=SEWRNClassifierConfig)
class SEWRNClassifier(FinetunedModel):
    """Source: Han et al. 2021, Towards High Generalization Performance on ECG Classification, CinC 2021."""

    cfg: SEWRNClassifierConfig
    encoder_class = SEWRN

    def __init__(self, cfg: SEWRNClassifierConfig) -> None:
        super().__init__(cfg)
        self.bn = batch_norm(cfg.leadwise, group_dims(cfg)[-1])
        self.proj = linear(self.encoder.dim, cfg.num_labels)

    def head(self, encoded: ModelOutput, source: Tensor, padding_mask: Tensor | None) -> ModelOutput:
        check_all_leads(source, self.cfg.leadwise)
        x = encoded["features"].transpose(1, 2)  # [batch, (leads x) channels, frames]
        if self.cfg.leadwise:
            x = x.unflatten(1, (-1, group_dims(self.cfg)[-1])).transpose(1, 2)  # [batch, channels, leads, frames]
        activated = self.final_dropout(F.relu(self.bn(x)))
        pooled = pool_maximum(to_frames(activated, SEWRN.LEAD_MAJOR), encoded["padding_mask"])
        encoded.update(pooled=pooled, logits=self.proj(pooled))
        return encoded
