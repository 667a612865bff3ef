"""The Nejedly residual CNN with attention over time and a linear classifier."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ecg_signals.config import ConfigError, option
from ecg_signals.models.base import ModelOutput
from ecg_signals.models.encoders.nejedly2021resnet import Nejedly2021ResNet, Nejedly2021ResNetConfig
from ecg_signals.models.encoders.residual import check_all_leads
from ecg_signals.models.heads.finetuned import FinetunedModel, FinetuneOptions
from ecg_signals.modules.heads import linear
from ecg_signals.modules.pooling import pool_frames
from ecg_signals.registry import register_model
from ecg_signals.signal.leads import LEADS

ATTENTION_HEADS = 8  # as in fairseq-signals' model of that name


@dataclass
class Nejedly2021ResNetClassifierConfig(FinetuneOptions, Nejedly2021ResNetConfig):
    final_dropout: float = option(0.5, "of the pooled features", least=0, most=1)
    indicate_leads: bool = option(False, "tell the classifier which leads hold no zero sample")
    use_mha: bool = option(False, "attention over frames before they are averaged")


@register_model("nejedly2021resnet_classifier", dataclass=Nejedly2021ResNetClassifierConfig)
class Nejedly2021ResNetClassifier(FinetunedModel):
    """Source: Nejedly et al. 2021, Classification of ECG Using Ensemble of Residual CNNs, Computing in Cardiology."""

    cfg: Nejedly2021ResNetClassifierConfig
    encoder_class = Nejedly2021ResNet

    def __init__(self, cfg: Nejedly2021ResNetClassifierConfig) -> None:
        super().__init__(cfg)
        leads, dim = len(LEADS) if cfg.leadwise else cfg.in_d, self.encoder.dim
        if cfg.use_mha and dim % ATTENTION_HEADS:
            raise ConfigError(
                f"model.use_mha needs {dim} channels to be a multiple of {ATTENTION_HEADS}; set model.num_filters"
            )
        self.mha = nn.MultiheadAttention(dim, ATTENTION_HEADS, batch_first=True) if cfg.use_mha else None
        self.proj = linear(dim + (leads if cfg.indicate_leads else 0), cfg.num_labels)

    def head(self, encoded: ModelOutput, source: Tensor, padding_mask: Tensor | None) -> ModelOutput:
        check_all_leads(source, self.cfg.leadwise)
        features, padding = encoded["features"], encoded["padding_mask"]
        if self.mha is not None:
            features, _ = self.mha(features, features, features, key_padding_mask=padding, need_weights=False)
        pooled = pool_frames(features, padding)
        known = self.final_dropout(pooled)
        if self.cfg.indicate_leads:
            known = torch.cat([known, _lead_flags(source, padding_mask).to(known)], dim=1)
        encoded.update(pooled=pooled, logits=self.proj(known))
        return encoded


def _lead_flags(source: Tensor, padding_mask: Tensor | None) -> Tensor:
    """True for leads without a zero among their unpadded samples: bool [batch, leads]."""
    present = source != 0
    if padding_mask is not None:
        present = present | (padding_mask if padding_mask.dim() == 3 else padding_mask.unsqueeze(1))
    return present.all(dim=-1)
