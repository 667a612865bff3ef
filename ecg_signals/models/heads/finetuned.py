"""What every head on an encoder shares: which weights train, when, and how fast."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from ecg_signals.config import MISSING, option
from ecg_signals.models.base import BaseModel, ModelOutput, StartOptions
from ecg_signals.modules.dropout import Dropout
from ecg_signals.signal.contract import SignalContract


@dataclass
class FinetuneOptions(StartOptions):
    freeze_finetune_updates: int = option(0, "updates during which only the head trains", least=0)
    final_dropout: float = option(0.0, "of the encoder's output", least=0, most=1)
    num_labels: int = option(MISSING, "columns of the logits", least=1)
    keep_head: bool = option(False, "the head of model_path too, with its options and its labels", ours=True)


class EncoderWithHead(BaseModel):
    """An encoder and a head; `cfg` has the options of both. Any model is an encoder (models/encoder.py).

    Extend it, set `encoder_class` and write `head`; `trains` and `lr_scale` say more where the encoder does not train
    as a whole.
    """

    encoder_class: ClassVar[type[BaseModel] | None]
    frozen = False  # for now; its forward pass then keeps nothing for a backward pass

    def __init__(self, cfg: Any) -> None:
        super().__init__(cfg)
        encoder_class, options = self.encoder_of(cfg)
        self.add_module(self.encoder_key, encoder_class(options))

    @property
    def signal(self) -> SignalContract | None:
        """The input contract, also of every encoder within, which may go by the names of the leads."""
        return self.__dict__.get("contract")

    @signal.setter
    def signal(self, contract: SignalContract | None) -> None:
        self.__dict__["contract"] = contract
        for encoder in self.children():
            if isinstance(encoder, BaseModel):
                encoder.signal = contract

    @property
    def underneath(self) -> BaseModel:
        """The encoder, whatever its name is here."""
        return cast(BaseModel, self.get_submodule(self.encoder_key))

    def forward(
        self,
        source: Tensor | None = None,
        padding_mask: Tensor | None = None,
        encoded: Mapping[str, Tensor] | None = None,
    ) -> ModelOutput:
        """source [batch, leads, samples], padding_mask bool [batch, (leads,) samples] -> logits, features, ...

        Args:
            encoded: what `read_by_head` gave of the same items before, in place of `source`.
        """
        if encoded is not None:
            return self.answer(encoded)
        assert source is not None
        return self.head(self.encode(source, padding_mask), source, padding_mask)

    def encode(self, source: Tensor, padding_mask: Tensor | None = None) -> ModelOutput:
        """What the encoder answers, in training as it trains."""
        frozen = self.frozen and self.training
        with torch.no_grad() if frozen else contextlib.nullcontext():
            return ModelOutput(self.underneath.training_pass(source, padding_mask))

    @property
    def encoder_fixed(self) -> bool:
        """Whether the encoder's answer to an item is the same throughout the run, so that it can be computed once."""
        return False

    def read_by_head(self, encoded: ModelOutput) -> dict[str, Tensor]:
        """What the head reads of the encoder's output, in few numbers; it and `answer` go with `encoder_fixed`."""
        raise TypeError(f"{type(self).__name__} must define read_by_head(encoded)")

    def answer(self, read: Mapping[str, Tensor]) -> ModelOutput:
        """`logits`, from what `read_by_head` gave."""
        raise TypeError(f"{type(self).__name__} must define answer(read)")

    def extract_features(self, source: Tensor, padding_mask: Tensor | None = None, layers: Any = None) -> ModelOutput:
        encoded = ModelOutput(self.underneath.extract_features(source, padding_mask, layers))
        return self.head(encoded, source, padding_mask)

    def head(self, encoded: ModelOutput, source: Tensor, padding_mask: Tensor | None) -> ModelOutput:
        """The encoder's output -> the same with `pooled` as this head reads it, and `logits` [batch, labels]."""
        raise TypeError(f"{type(self).__name__} must define head(encoded, source, padding_mask)")

    @classmethod
    def published_options(cls) -> dict[str, Any]:
        return cls.encoder_class.published_options() if cls.encoder_class else {}

    def depth(self, name: str) -> int:
        """Of a weight: its place among the encoder's parts; their number for the head's, -1 for what has no part."""
        parts, inside = self.underneath.parts(), name.removeprefix(f"{self.encoder_key}.")
        if inside == name:
            return len(parts)
        holds = (any(part in ("", inside) or inside.startswith(f"{part}.") for part in names) for names in parts)
        return next((place for place, found in enumerate(holds) if found), -1)

    def trains(self, name: str) -> bool:
        """Whether a weight trains now."""
        return True

    def hold(self) -> None:
        """Let train what `trains` names, and nothing else."""
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(self.trains(name))


class WaitingEncoder(EncoderWithHead):
    """A head whose encoder may wait for it, `cfg.freeze_finetune_updates`."""

    encoder: BaseModel

    def __init__(self, cfg: Any) -> None:
        super().__init__(cfg)
        self.before_forward(0)

    @property
    def sometimes_unused(self) -> bool:
        return self.cfg.freeze_finetune_updates > 0

    def before_forward(self, num_updates: int) -> None:
        self.frozen = num_updates < self.cfg.freeze_finetune_updates


class FinetunedModel(WaitingEncoder):
    """A head with labels; `cfg` extends FinetuneOptions."""

    usually_pretrained = True
    HEAD: ClassVar[tuple[str, ...]] = ()  # options that say which weights a head has

    def __init__(self, cfg: Any) -> None:
        super().__init__(cfg)
        self.final_dropout = Dropout(cfg.final_dropout)
