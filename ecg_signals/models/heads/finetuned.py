"""What every head on a pretrained encoder shares: where the encoder comes from and when it trains."""

import contextlib
import logging
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ecg_signals.checkpoint.building import check_size
from ecg_signals.checkpoint.layout import ModelSource
from ecg_signals.checkpoint.load import fill, load_source
from ecg_signals.checkpoint.origin import inherited
from ecg_signals.config import MISSING, BaseConfig, ConfigError, option
from ecg_signals.models.base import BaseModel, ModelOutput
from ecg_signals.modules.dropout import Dropout
from ecg_signals.registry import get_entry

logger = logging.getLogger(__name__)

PRETRAINING_PARTS = (
    "mask_emb", "quantizer.", "project_q.", "target_glu.", "final_proj.", "input_quantizer.", "project_inp.",
)  # fmt: skip
MASKING = "mask_"  # prefix of the options that only matter with apply_mask


@dataclass
class FinetuneOptions(BaseConfig):
    model_path: str | None = option(None, "checkpoint whose encoder is taken over, with its sizes")
    no_pretrained_weights: bool = option(False, "start from random weights although model_path is set")
    freeze_finetune_updates: int = option(0, "updates during which only the head trains")
    final_dropout: float = option(0.0, "of the encoder's output, 0 to 1")
    num_labels: int = option(MISSING, "columns of the logits")


class FinetunedModel(BaseModel):
    """An encoder and a head; extend it, set `encoder_class` and write `head`.

    When `model_path` names a pretrained (or fine-tuned) file, its encoder is loaded, and the options that describe
    the architecture are written into `cfg`, so that `cfg` alone rebuilds the model.
    """

    encoder_class: ClassVar[type[BaseModel]]

    def __init__(self, cfg: Any) -> None:
        super().__init__(cfg)
        source = _pretrained(cfg)
        if source is not None:
            _take_over(cfg, source, self.encoder_class)
        self.encoder = self.encoder_class(cfg)
        if source is not None:
            fill(self.encoder, _encoder_state(source, self.encoder_class, self.encoder), source.where)
            self.signal = source.signal
            self.origin = inherited(source.origin)
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

    def encode(self, source: Tensor, padding_mask: Tensor | None) -> ModelOutput:
        return self.encoder(source, padding_mask)

    def head(self, encoded: ModelOutput, source: Tensor, padding_mask: Tensor | None) -> ModelOutput:
        """The encoder's output -> the same with `pooled` as this head reads it, and `logits` [batch, labels]."""
        raise TypeError(f"{type(self).__name__} must define head(encoded, source, padding_mask)")


def _pretrained(cfg: Any) -> ModelSource | None:
    if cfg.no_pretrained_weights:
        return None
    if cfg.model_path is None:
        logger.warning("the encoder starts from random weights: set model.model_path=FILE, or "
                       "model.no_pretrained_weights=true if that is meant")  # fmt: skip
        return None
    source = load_source(cfg.model_path)
    check_size(source)
    return source


def _take_over(cfg: Any, source: ModelSource, encoder_class: type[BaseModel]) -> None:
    """Write the pretrained encoder's sizes into `cfg` where it still has its defaults."""
    entry = get_entry("model", source.name)
    if not issubclass(_encoder_of(entry.cls), encoder_class):
        raise ConfigError(
            f"model.model_path={source.where} holds a model '{source.name}', whose encoder this model cannot use; "
            f"give a file whose encoder is a {encoder_class.__name__}, or set model.no_pretrained_weights=true"
        )
    found = entry.dataclass.from_mapping(source.options)
    for key in ("normalize", "filter"):
        if getattr(found, key) != getattr(cfg, key):
            raise ConfigError(
                f"{source.where} was trained with {key}={getattr(found, key)}, but this run has "
                f"{key}={getattr(cfg, key)}; set task.{key}={str(getattr(found, key)).lower()}"
            )
    default = type(cfg)()
    for key in encoder_class.ARCHITECTURE:  # type: ignore[attr-defined]
        if getattr(cfg, key) not in (getattr(default, key), getattr(found, key)):
            raise ConfigError(
                f"model.{key}={getattr(cfg, key)}, but the encoder of {source.where} has {getattr(found, key)}; "
                f"leave model.{key} out, or set model.no_pretrained_weights=true"
            )
        setattr(cfg, key, getattr(found, key))
    if getattr(cfg, "apply_mask", False):
        for key in vars(default):
            if key.startswith(MASKING) and getattr(cfg, key) == getattr(default, key):
                setattr(cfg, key, getattr(found, key))


def _encoder_of(cls: type) -> type:
    return cls.encoder_class if issubclass(cls, FinetunedModel) else cls


def _encoder_state(source: ModelSource, encoder_class: type[BaseModel], encoder: BaseModel) -> dict[str, Tensor]:
    """The encoder's weights in a pretrained or fine-tuned file; what only pretraining needs stays behind."""
    state = source.state
    if not issubclass(get_entry("model", source.name).cls, encoder_class):
        state = {key.removeprefix("encoder."): value for key, value in state.items() if key.startswith("encoder.")}
    state = encoder.upgrade_state_dict(dict(state))
    own = encoder.state_dict()
    kept = {key: value for key, value in state.items() if key in own or not key.startswith(PRETRAINING_PARTS)}
    if "mask_emb" in own:
        kept.setdefault("mask_emb", own["mask_emb"])
    return kept
