"""What heads that answer questions share: one ECG or two and a text go through the encoder, and logits come out."""

import contextlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ecg_signals.config import option
from ecg_signals.models.base import ModelOutput
from ecg_signals.models.heads.finetuned import FinetunedModel, FinetuneOptions


@dataclass
class QuestionOptions(FinetuneOptions):
    num_ecgs: int = option(2, "ECGs that a question may be about", choices=(1, 2))


class QuestionHead(FinetunedModel):
    """A head on an encoder that reads a text; write `answers`. `forward` takes what the encoder's takes."""

    def forward(  # type: ignore[override]
        self,
        source: Tensor,
        padding_mask: Tensor | None = None,
        text: Tensor | None = None,
        text_padding_mask: Tensor | None = None,
        ecg_2: Tensor | None = None,
        ecg_2_padding_mask: Tensor | None = None,
    ) -> ModelOutput:
        """-> logits [batch, labels] beside the encoder's output; see the encoder's `forward`."""
        frozen = self.frozen and self.training
        question = {"text": text, "text_padding_mask": text_padding_mask}
        if getattr(self.cfg, "num_ecgs", 2) == 2:  # else a second one is not looked at
            question |= {"ecg_2": ecg_2, "ecg_2_padding_mask": ecg_2_padding_mask}
        with torch.no_grad() if frozen else contextlib.nullcontext():
            encoded = ModelOutput(self.underneath.training_pass(source, padding_mask, **question))
        return self.answers(encoded, source)

    def extract_features(
        self, source: Tensor, padding_mask: Tensor | None = None, layers: Any = None, **question: Tensor | None
    ) -> ModelOutput:
        encoded = ModelOutput(self.underneath.extract_features(source, padding_mask, layers, **question))
        return self.answers(encoded, source)

    def answers(self, encoded: ModelOutput, source: Tensor) -> ModelOutput:
        """The encoder's output -> the same with `pooled` as this head reads it, and `logits` [batch, labels]."""
        raise TypeError(f"{type(self).__name__} must define answers(encoded, source)")
