"""What heads that answer questions share: one ECG or two and a text go through the encoder, and logits come out."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ecg_signals.config import option
from ecg_signals.models.base import ModelOutput
from ecg_signals.models.heads.finetuned import FinetunedModel, FinetuneOptions
from ecg_signals.models.text.text_model import QUESTION


@dataclass
class QuestionOptions(FinetuneOptions):
    num_ecgs: int = option(2, "ECGs that a question may be about", choices=(1, 2))


class QuestionHead(FinetunedModel):
    """A head on an encoder that reads a text; write `answers`. It is called as the encoder is, a TextModel."""

    further_inputs: ClassVar[tuple[str, ...]] = QUESTION

    def forward(  # type: ignore[override]
        self, source: Tensor, padding_mask: Tensor | None = None, **question: Tensor | None
    ) -> ModelOutput:
        """-> logits [batch, labels] beside the encoder's output; see TextModel."""
        frozen = self.frozen and self.training
        with torch.no_grad() if frozen else contextlib.nullcontext():
            encoded = ModelOutput(self.underneath.training_pass(source, padding_mask, **self.asked(question)))
        return self.answers(encoded, source)

    def extract_features(
        self, source: Tensor, padding_mask: Tensor | None = None, layers: Any = None, **question: Tensor | None
    ) -> ModelOutput:
        found = self.underneath.extract_features(source, padding_mask, layers, **self.asked(question))
        return self.answers(ModelOutput(found), source)

    def asked(self, question: Mapping[str, Tensor | None]) -> dict[str, Tensor | None]:
        """What the encoder gets of a question: a second ECG only where num_ecgs says so."""
        one = getattr(self.cfg, "num_ecgs", 2) == 1
        return {key: value for key, value in question.items() if not (one and key.startswith("ecg_2"))}

    def answers(self, encoded: ModelOutput, source: Tensor) -> ModelOutput:
        """The encoder's output -> the same with `pooled` as this head reads it, and `logits` [batch, labels]."""
        raise TypeError(f"{type(self).__name__} must define answers(encoded, source)")
