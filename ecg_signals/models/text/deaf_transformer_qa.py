"""ECG-QA without the question: what the ECGs alone tell of the answer."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ecg_signals.config import option
from ecg_signals.models.base import ModelOutput
from ecg_signals.models.encoders.ecg_transformer import ECGTransformer
from ecg_signals.models.heads.ecg_transformer_classifier import ECGTransformerFinetuneConfig
from ecg_signals.models.text.question_head import QuestionOptions
from ecg_signals.models.text.text_model import QUESTION, Signal, TextModel
from ecg_signals.models.text.text_options import Frames, Text, join_ecgs, mean_of
from ecg_signals.modules.dropout import Dropout
from ecg_signals.modules.heads import linear
from ecg_signals.registry import register_model


@dataclass
class DeafTransformerQAConfig(QuestionOptions, ECGTransformerFinetuneConfig):
    ecg_2_from_separator: bool = option(False, "the second ECG's mean takes the separator in, as published", ours=True)


@register_model("deaf_transformer_qa", dataclass=DeafTransformerQAConfig)
class DeafTransformerQA(TextModel, ECGTransformer):  # type: ignore[misc]
    """Source: Oh et al. 2023, ECG-QA, arXiv:2306.15681: one of its two ablations."""

    cfg: DeafTransformerQAConfig
    encoder_class = ECGTransformer
    further_inputs: ClassVar[tuple[str, ...]] = QUESTION[2:]
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

    def words(self, source: Tensor, text: Tensor | None, padding: Tensor | None) -> Text:
        """None: a text is not looked at."""
        return Text(torch.empty(len(source), 0, dtype=torch.long, device=source.device), None)

    def read(self, first: Signal, second: Signal | None, text: Text, hidden: list[Tensor] | None = None) -> ModelOutput:
        """features [batch, frames, width] of both ECGs, the separator between them."""
        ecgs = self._placed(first)
        frames = ecgs.x.shape[1]
        if second is not None and self.sep_embedding is not None:
            ecgs = join_ecgs(ecgs, self.sep_embedding, self._placed(second))
        x, saliency = self.encoder(ecgs.x, ecgs.padding, need_weights=self.cfg.saliency, hidden=hidden)
        read = Frames(self.final_dropout(x), ecgs.padding)
        mean = mean_of(read, slice(0, frames), self.cfg.pooling)
        behind = slice(frames + (not self.cfg.ecg_2_from_separator), None)
        mean_2 = mean_of(read, behind, self.cfg.pooling) if x.shape[1] > frames else torch.zeros_like(mean)
        pooled = torch.cat([mean, mean_2], dim=-1)
        output = ModelOutput(features=read.x, pooled=pooled, padding_mask=ecgs.padding, logits=self.proj(pooled))
        return output if saliency is None else ModelOutput(output, saliency=saliency)

    def _placed(self, ecg: Signal) -> Frames:
        """The transformer's input from one ECG."""
        frames, padding = self.frames(*ecg, mask=self.training and self.cfg.apply_mask)
        return Frames(self.place(frames, padding), padding)
