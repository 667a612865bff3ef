"""What every head on an encoder shares: when the encoder trains."""

import contextlib
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ecg_signals.config import MISSING, option
from ecg_signals.models.base import BaseModel, ModelOutput, StartOptions
from ecg_signals.modules.dropout import Dropout


@dataclass
class FinetuneOptions(StartOptions):
    freeze_finetune_updates: int = option(0, "updates during which only the head trains", least=0)
    final_dropout: float = option(0.0, "of the encoder's output", least=0, most=1)
    num_labels: int = option(MISSING, "columns of the logits", least=1)


class FinetunedModel(BaseModel):
    """An encoder and a head; extend it, set `encoder_class` and write `head`. `cfg` has the options of both.

    Any model is an encoder; its ARCHITECTURE and `inherited_options` say which options come from a pretrained file,
    else all do that `cfg` leaves alone.
    """

    encoder_class: ClassVar[type[BaseModel]]
    usually_pretrained = True

    def __init__(self, cfg: Any) -> None:
        super().__init__(cfg)
        self.encoder = self.encoder_class(cfg)
        self.final_dropout = Dropout(cfg.final_dropout)
        self.before_forward(0)

    @property
    def sometimes_unused(self) -> bool:
        return self.cfg.freeze_finetune_updates > 0

    def before_forward(self, num_updates: int) -> None:
        self.frozen = num_updates < self.cfg.freeze_finetune_updates

    def forward(self, source: Tensor, padding_mask: Tensor | None = None) -> ModelOutput:
        """source [batch, leads, samples], padding_mask bool [batch, (leads,) samples] -> logits, features, ..."""
        frozen = self.frozen and self.training
        with torch.no_grad() if frozen else contextlib.nullcontext():
            encoded = self.encode(source, padding_mask)
        return self.head(encoded, source, padding_mask)

    def extract_features(self, source: Tensor, padding_mask: Tensor | None = None, layers: Any = None) -> ModelOutput:
        return self.head(ModelOutput(self.encoder.extract_features(source, padding_mask, layers)), source, padding_mask)

    @classmethod
    def published_options(cls) -> dict[str, Any]:
        return cls.encoder_class.published_options()

    def encode(self, source: Tensor, padding_mask: Tensor | None) -> ModelOutput:
        return ModelOutput(self.encoder(source, padding_mask))

    def head(self, encoded: ModelOutput, source: Tensor, padding_mask: Tensor | None) -> ModelOutput:
        """The encoder's output -> the same with `pooled` as this head reads it, and `logits` [batch, labels]."""
        raise TypeError(f"{type(self).__name__} must define head(encoded, source, padding_mask)")
