"""A linear head on the means of one ECG or two and of a text, as one transformer reads them together."""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from ecg_signals.config import another_default, option
from ecg_signals.models.base import ModelOutput
from ecg_signals.models.text.ecg_language_transformer import ECGLanguageTransformer, ECGLanguageTransformerConfig
from ecg_signals.models.text.question_head import QuestionHead, QuestionOptions
from ecg_signals.modules.heads import linear
from ecg_signals.modules.pooling import pool_frames
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

    def forward(  # type: ignore[override]
        self,
        source: Tensor,
        padding_mask: Tensor | None = None,
        text: Tensor | None = None,
        text_padding_mask: Tensor | None = None,
        ecg_2: Tensor | None = None,
        ecg_2_padding_mask: Tensor | None = None,
    ) -> ModelOutput:
        shown = text_padding_mask if self.cfg.text_padding else None
        return super().forward(source, padding_mask, text, shown, ecg_2, ecg_2_padding_mask)

    def answers(self, encoded: ModelOutput, source: Tensor) -> ModelOutput:
        x, padding = self.final_dropout(encoded["features"]), encoded["padding_mask"]
        frames = cast(ECGLanguageTransformer, self.encoder).feature_extractor.frames(source.shape[-1])
        means = [self._mean(x, padding, slice(0, frames))]
        if self.cfg.num_ecgs == 2:
            published = self.cfg.ecg_2_from_separator
            second = slice(frames, -1) if published else slice(frames + 1, None)
            two = x.shape[1] > frames
            means.append(self._mean(x, padding, second) if two else torch.zeros_like(means[0]))
        words = self.final_dropout(encoded["text_features"])
        means.append(self._mean(words, encoded["text_padding_mask"], slice(None)))
        pooled = torch.cat(means, dim=-1)
        encoded.update(pooled=pooled, logits=self.proj(pooled))
        return encoded

    def _mean(self, x: Tensor, padding: Tensor | None, part: slice) -> Tensor:
        return pool_frames(x[:, part], None if padding is None else padding[:, part], self.cfg.pooling)
