"""What every head on a pretrained encoder shares: where the encoder comes from and when it trains."""

import contextlib
import inspect
import logging
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, fields
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


@dataclass
class FinetuneOptions(BaseConfig):
    model_path: str | None = option(None, "checkpoint whose encoder is taken over, with its sizes")
    no_pretrained_weights: bool = option(False, "start from random weights although model_path is set")
    freeze_finetune_updates: int = option(0, "updates during which only the head trains", least=0)
    final_dropout: float = option(0.0, "of the encoder's output", least=0, most=1)
    num_labels: int = option(MISSING, "columns of the logits", least=1)


class FinetunedModel(BaseModel):
    """An encoder and a head; extend it, set `encoder_class` and write `head`. `cfg` has the options of both.

    When `model_path` names a pretrained (or fine-tuned) file, its encoder is loaded, and the options that describe
    the architecture are written into `cfg`, so that `cfg` alone rebuilds the model. Any model is an encoder; its
    ARCHITECTURE and `inherited_options` say which options come from the file, else all do that `cfg` leaves alone.
    """

    encoder_class: ClassVar[type[BaseModel]]

    def __init__(self, cfg: Any) -> None:
        super().__init__(cfg)
        source = _pretrained(cfg)
        if source is not None:
            _take_over(cfg, source, self.encoder_class)
        self.encoder = self.encoder_class(cfg)
        if source is not None:
            fill(self.encoder, _encoder_state(source, self.encoder), source.where)
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

    @classmethod
    def published_options(cls) -> dict[str, Any]:
        return cls.encoder_class.published_options()

    def encode(self, source: Tensor, padding_mask: Tensor | None) -> ModelOutput:
        return ModelOutput(self.encoder(source, padding_mask))

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
    """Write the pretrained encoder's options into `cfg` where it still has its defaults."""
    entry = get_entry("model", source.name)
    if not issubclass(_encoder_of(entry.cls), encoder_class):
        raise ConfigError(
            f"model.model_path={source.where} holds a model '{source.name}', whose encoder this model cannot use; "
            f"give a file whose encoder is a {encoder_class.__name__}, or set model.no_pretrained_weights=true"
        )
    found = entry.dataclass.from_mapping(source.options)
    shared = [item for item in fields(cfg) if item.name in found.__dataclass_fields__]
    own, usual, theirs = cfg.to_dict(), type(cfg)().to_dict(), found.to_dict()
    _check_input(shared, own, theirs, source.where)
    fixed = encoder_class.ARCHITECTURE
    for key in fixed or ():
        if own[key] not in (usual[key], theirs[key]):
            raise ConfigError(
                f"model.{key}={own[key]}, but the encoder of {source.where} has {theirs[key]}; "
                f"leave model.{key} out, or set model.no_pretrained_weights=true"
            )
        setattr(cfg, key, getattr(found, key))
    for key in _of_encoder(cfg, shared) if fixed is None else encoder_class.inherited_options(cfg):
        if own[key] == usual[key]:
            setattr(cfg, key, getattr(found, key))
        elif own[key] != theirs[key]:
            logger.info("model.%s=%s; in %s it was %s", key, own[key], source.where, theirs[key])


def _check_input(shared: Sequence[Field[Any]], own: Mapping[str, Any], theirs: Mapping[str, Any], where: str) -> None:
    """Raises: ConfigError when the encoder was trained on input that was made in another way."""
    for item in shared:
        wanted, found = theirs[item.name], own[item.name]
        if item.metadata.get("as_pretrained") and found != wanted:
            key = item.metadata["follows"] or f"model.{item.name}"
            raise ConfigError(
                f"{where} was trained with {item.name}={wanted}, but this run has {item.name}={found}; set "
                f"{key}={str(wanted).lower() if isinstance(wanted, bool) else wanted}"
            )


def _of_encoder(cfg: Any, shared: Sequence[Field[Any]]) -> list[str]:
    """The options of an encoder that names no ARCHITECTURE: all but a head's own and those that follow the run's data.

    What a head's dataclass declares again, such as another default, is the head's.
    """
    bases = [base for base in type(cfg).__mro__ if issubclass(base, FinetuneOptions) or base is BaseConfig]
    own = {name for base in bases for name in inspect.get_annotations(base)}
    return [item.name for item in shared if item.name not in own and not item.metadata.get("follows")]


def _encoder_of(cls: type[BaseModel]) -> type[BaseModel]:
    return cls.encoder_class or cls


def _encoder_state(source: ModelSource, encoder: BaseModel) -> dict[str, Tensor]:
    """The encoder's weights in a pretrained or fine-tuned file; parts that it does not have stay behind."""
    state = source.state
    if get_entry("model", source.name).cls.encoder_class:
        state = {key.removeprefix("encoder."): value for key, value in state.items() if key.startswith("encoder.")}
    state = encoder.upgrade_state_dict(dict(state))
    own = encoder.state_dict()
    parts = {key.split(".")[0] for key in own}
    kept = {key: value for key, value in state.items() if key.split(".")[0] in parts}
    if len(kept) < len(state):
        left = sorted({key.split(".")[0] for key in state if key not in kept})
        logger.info("%s: not taken over, as only its pretraining needs them: %s", source.where, ", ".join(left))
    return {**{key: own[key] for key in encoder.NEW_WEIGHTS if key in own}, **kept}
