"""A linear classifier on the mean frame of an ECG transformer."""

from dataclasses import dataclass

from torch import Tensor

from ecg_signals.config import option
from ecg_signals.models.base import ModelOutput
from ecg_signals.models.encoders.ecg_transformer import ECGTransformer, ECGTransformerConfig
from ecg_signals.models.heads.finetuned import FinetunedModel, FinetuneOptions
from ecg_signals.modules.heads import linear
from ecg_signals.modules.pooling import pool_frames
from ecg_signals.registry import register_model


@dataclass
class ECGTransformerFinetuneConfig(FinetuneOptions, ECGTransformerConfig):
    dropout: float = option(0.0, "after attention and perceptron", least=0, most=1)
    attention_dropout: float = option(0.0, "of attention weights", least=0, most=1)
    feature_grad_mult: float = option(0.0, "gradient of the convolutions is multiplied by it; 0 freezes them", least=0)


@register_model("ecg_transformer_classifier", dataclass=ECGTransformerFinetuneConfig)
class ECGTransformerClassifier(FinetunedModel):
    """Source: Oh et al. 2022, Lead-agnostic Self-supervised Learning, arXiv:2203.06889."""

    cfg: ECGTransformerFinetuneConfig
    encoder_class = ECGTransformer

    def __init__(self, cfg: ECGTransformerFinetuneConfig) -> None:
        super().__init__(cfg)
        self.proj = linear(cfg.encoder_embed_dim, cfg.num_labels)

    def head(self, encoded: ModelOutput, source: Tensor, padding_mask: Tensor | None) -> ModelOutput:
        padding = encoded["padding_mask"]
        features = self.final_dropout(encoded["features"])
        if padding is not None:
            features = features.masked_fill(padding.unsqueeze(-1), 0.0)
        pooled = pool_frames(features, padding, self.cfg.pooling)
        encoded.update(features=features, pooled=pooled, logits=self.proj(pooled))
        return encoded
