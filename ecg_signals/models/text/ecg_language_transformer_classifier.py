"""A linear head on the means of one ECG or two and of a text, as one transformer reads them together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from ecg_signals.config import another_default, option
from ecg_signals.models.base import ModelOutput
from ecg_signals.models.text.ecg_language_transformer import ECGLanguageTransformer, ECGLanguageTransformerConfig
from ecg_signals.models.text.question_head import QuestionHead, QuestionOptions
from ecg_signals.models.text.text_options import Frames, mean_of
from ecg_signals.modules.heads import linear
from ecg_signals.registry import register_model


@dataclass
class ECGLanguageTransformerClassifierConfig(QuestionOptions, ECGLanguageTransformerConfig):
    dropout: float = option(0.0, "after attention and perceptron", least=0, most=1)
    attention_dropout: float = option(0.0, "of attention weights", least=0, most=1)
    feature_grad_mult: float = option(0.0, "gradient of the convolutions is multiplied by it; 0 freezes them", least=0)
    load_bert_embedding: bool = another_default(ECGLanguageTransformerConfig, "load_bert_embedding", False)
    text_padding: bool = option(
        True, "padding of texts is neither read nor pooled; false, as published: it is taken for words", ours=True
    )
    ecg_2_from_separator: bool = option(
        False, "the second ECG's mean takes the separator in and leaves its last frame out, as published", ours=True
    )


@register_model("ecg_language_transformer_classifier", dataclass=ECGLanguageTransformerClassifierConfig)
class ECGLanguageTransformerClassifier(QuestionHead):
    """Source: Oh et al. 2023, ECG-QA, arXiv:2306.15681."""

    cfg: ECGLanguageTransformerClassifierConfig
    encoder_class = ECGLanguageTransformer

    def __init__(self, cfg: ECGLanguageTransformerClassifierConfig) -> None:
        super().__init__(cfg)
        self.proj = linear((cfg.num_ecgs + 1) * cfg.encoder_embed_dim, cfg.num_labels)

    @classmethod
    def published_options(cls) -> dict[str, Any]:
        return {**super().published_options(), "text_padding": False, "ecg_2_from_separator": True}

    def asked(self, question: Mapping[str, Tensor | None]) -> dict[str, Tensor | None]:
        return super().asked(question) | ({} if self.cfg.text_padding else {"text_padding_mask": None})

    def answers(self, encoded: ModelOutput, source: Tensor) -> ModelOutput:
        cfg, ecgs = self.cfg, Frames(self.final_dropout(encoded["features"]), encoded["padding_mask"])
        frames = cast(ECGLanguageTransformer, self.encoder).feature_extractor.frames(source.shape[-1])
        means = [mean_of(ecgs, slice(0, frames), cfg.pooling)]
        if cfg.num_ecgs == 2:
            second = slice(frames, -1) if cfg.ecg_2_from_separator else slice(frames + 1, None)
            two = ecgs.x.shape[1] > frames
            means.append(mean_of(ecgs, second, cfg.pooling) if two else torch.zeros_like(means[0]))
        words = Frames(self.final_dropout(encoded["text_features"]), encoded["text_padding_mask"])
        pooled = torch.cat([*means, mean_of(words, slice(None), cfg.pooling)], dim=-1)
        encoded.update(pooled=pooled, logits=self.proj(pooled))
        return encoded
