"""ECG-QA without the question: what the ECGs alone tell of the answer."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ecg_signals.config import option
from ecg_signals.models.base import ModelOutput
from ecg_signals.models.encoders.ecg_transformer import ECGTransformer, hidden_states_list
from ecg_signals.models.heads.ecg_transformer_classifier import ECGTransformerFinetuneConfig
from ecg_signals.models.text.question_head import QuestionOptions
from ecg_signals.models.text.text_options import Frames, join_ecgs
from ecg_signals.modules.dropout import Dropout
from ecg_signals.modules.heads import linear
from ecg_signals.modules.pooling import pool_frames
from ecg_signals.registry import register_model


@dataclass
class DeafTransformerQAConfig(QuestionOptions, ECGTransformerFinetuneConfig):
    ecg_2_from_separator: bool = option(False, "the second ECG's mean takes the separator in, as published", ours=True)


@register_model("deaf_transformer_qa", dataclass=DeafTransformerQAConfig)
class DeafTransformerQA(ECGTransformer):
    """Source: Oh et al. 2023, ECG-QA, arXiv:2306.15681: one of its two ablations."""

    cfg: DeafTransformerQAConfig
    encoder_class = ECGTransformer
    NEW_WEIGHTS = (*ECGTransformer.NEW_WEIGHTS, "sep_embedding", "proj")
    FRESH_WEIGHTS: ClassVar[tuple[str, ...]] = ("proj",)

    def __init__(self, cfg: DeafTransformerQAConfig) -> None:
        super().__init__(cfg)
        self.sep_embedding = nn.Parameter(torch.rand(cfg.encoder_embed_dim)) if cfg.num_ecgs == 2 else None
        self.final_dropout = Dropout(cfg.final_dropout)
        self.proj = linear(2 * cfg.encoder_embed_dim, cfg.num_labels)

    @classmethod
    def published_options(cls) -> dict[str, Any]:
        return {**super().published_options(), "ecg_2_from_separator": True}

    @property
    def sometimes_unused(self) -> bool:
        return super().sometimes_unused or self.sep_embedding is not None

    def forward(  # type: ignore[override]
        self,
        source: Tensor,
        padding_mask: Tensor | None = None,
        text: Tensor | None = None,
        text_padding_mask: Tensor | None = None,
        ecg_2: Tensor | None = None,
        ecg_2_padding_mask: Tensor | None = None,
        hidden: list[Tensor] | None = None,
    ) -> ModelOutput:
        """As ECGLanguageTransformer, but for the text, which is not looked at."""
        ecgs = self._placed(source, padding_mask)
        frames = ecgs.x.shape[1]
        if ecg_2 is not None and self.sep_embedding is not None:
            ecgs = join_ecgs(ecgs, self.sep_embedding, self._placed(ecg_2, ecg_2_padding_mask))
        x, saliency = self.encoder(ecgs.x, ecgs.padding, need_weights=self.cfg.saliency, hidden=hidden)
        x = self.final_dropout(x)
        means = [self._mean(x, ecgs.padding, slice(0, frames))]
        two = x.shape[1] > frames
        second = slice(frames + (not self.cfg.ecg_2_from_separator), None)
        means.append(self._mean(x, ecgs.padding, second) if two else torch.zeros_like(means[0]))
        pooled = torch.cat(means, dim=-1)
        output = ModelOutput(features=x, pooled=pooled, padding_mask=ecgs.padding, logits=self.proj(pooled))
        return output if saliency is None else ModelOutput(output, saliency=saliency)

    def _placed(self, source: Tensor, padding_mask: Tensor | None) -> Frames:
        """The transformer's input from one ECG."""
        features, padding = self.convolve(source, padding_mask)
        x = self.project(self.layer_norm(features))
        masks = self.training and self.cfg.apply_mask
        x = self.hide(x, self.draw_mask(x.shape[:2], padding) if masks else None, channels=masks)
        return Frames(self.place(x, padding), padding)

    def training_pass(self, source: Tensor, padding_mask: Tensor | None, **question: Any) -> ModelOutput:
        return self(source, padding_mask, **question)

    def extract_features(
        self, source: Tensor, padding_mask: Tensor | None = None, layers: str | None = None, **question: Tensor | None
    ) -> ModelOutput:
        hidden = hidden_states_list(layers)
        output = self(source, padding_mask, **question, hidden=hidden)
        return output if hidden is None else ModelOutput(output, hidden_states=hidden)

    def _mean(self, x: Tensor, padding: Tensor | None, part: slice) -> Tensor:
        return pool_frames(x[:, part], None if padding is None else padding[:, part], self.cfg.pooling)
