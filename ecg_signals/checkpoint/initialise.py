"""How a recipe's model begins: where `model_path` names a file, with the encoder of that file.

A model's constructor builds from its config and reads nothing. The file is read here, the options that describe its
encoder are written into the config, so that the config alone builds the model again, and its weights are loaded.
"""

import inspect
import logging
from collections.abc import Mapping
from dataclasses import Field, fields
from typing import Any, cast

from torch import Tensor

from ecg_signals.checkpoint.bert import begin_from_bert
from ecg_signals.checkpoint.building import check_size
from ecg_signals.checkpoint.load import fill, load_source
from ecg_signals.checkpoint.origin import inherited
from ecg_signals.checkpoint.state import RestoredState
from ecg_signals.config import BaseConfig, ConfigError, dotted, known_options
from ecg_signals.interop.layout import ModelSource
from ecg_signals.models.base import BaseModel, StartOptions
from ecg_signals.registry import get_entry, register_model

logger = logging.getLogger(__name__)


def begin_model(cfg: Any) -> BaseModel:
    """The model of a recipe's section `model`; a pretrained file's encoder, contract and origin where it names one.

    Raises: ConfigError when the file cannot be read, or its encoder is not what the model and its options ask for.
    """
    cls = _class_of(cfg)
    source = _pretrained(cfg, cls)
    if source is None:
        return begin_parts(cfg, cls)
    take_over(cfg, source)
    model = cls(cfg)
    encoder = cast(BaseModel, model.get_submodule(_key(cls, cfg)))
    fill(encoder, _encoder_state(source, encoder), source.where)
    if _keeps_head(cfg):
        inside = f"{_key(cls, cfg)}."
        head = {key: value for key, value in source.state.items() if not key.startswith(inside)}
        kept = {key: value for key, value in model.state_dict().items() if key.startswith(inside)}
        fill(model, kept | head, source.where)
        model.labels = source.labels
    return _inheriting(model, source)


def begin_parts(cfg: Any, cls: type[BaseModel]) -> BaseModel:
    """A model that begins from no file as a whole, though parts of it may: its ECG encoder, and what BERT knows.

    Raises: ConfigError when such a part's file is not there, or is not of its size.
    """
    parts = {name: load_source(path) for name, path in cls.encoder_files(cfg).items()}
    for source in parts.values():
        check_size(source)
        found = get_entry("model", source.name)
        their_class, theirs = found.cls.encoder_of(found.dataclass.from_mapping(source.options))
        for key in their_class.ARCHITECTURE or ():
            if key in type(cfg).__dataclass_fields__:
                _take(cfg, theirs, key, source.where, fixed=True)
    model = cls(cfg)
    for name, source in parts.items():
        encoder = cast(BaseModel, model.get_submodule(name))
        fill(encoder, _encoder_state(source, encoder), source.where)
        model.origin = inherited(source.origin)
    for owner in (module for module in model.modules() if isinstance(module, BaseModel)):
        for name, what in owner.bert_parts().items():
            begin_from_bert(owner.get_submodule(name), what, getattr(cfg, "language_model_path", None))
    return model


def continue_model(cfg: Any, restored: RestoredState) -> BaseModel:
    """The model of a run that goes on from a checkpoint, whose weights are loaded afterwards.

    The pretrained file that the run once started from is not read again: its options stand in the checkpoint.
    """
    cls = _class_of(cfg)
    if not _starts_from_a_file(cfg):
        return cls(cfg)
    source = restored.source
    take_over(cfg, source)
    return _inheriting(cls(cfg), source)


def encoder_alone(source: ModelSource) -> ModelSource:
    """The encoder within a file's model as a model of its own, without a head or what only its pretraining needs.

    Raises: ConfigError when no model is registered that is such an encoder alone.
    """
    cls, section = encoder_section_of(source.name, source.options, source.where)
    made = cls(get_entry("model", section["_name"]).dataclass.from_mapping(section))
    state = _encoder_state(source, made)
    kept = {key: getattr(source, key) for key in ("signal", "cfg", "layout", "where", "origin")}
    return ModelSource(section["_name"], section, state, **kept)


def encoder_section_of(name: str, values: Mapping[str, Any], where: str) -> tuple[type[BaseModel], dict[str, Any]]:
    """The class of the encoder within a model and the plain section that builds it alone, with its `_name`.

    Args:
        name, values: the model's registered name and options.
        where: who has it, for messages.
    Raises: ConfigError when no model is registered that is such an encoder alone.
    """
    entry = get_entry("model", name)
    encoder_class, options = entry.cls.encoder_of(entry.dataclass.from_mapping(values))
    registered = (other.name for other in register_model.entries.values() if other.cls is encoder_class)
    found = encoder_class.encoder_name or next(registered, None)
    if found is None:
        raise ConfigError(f"{where}: the encoder of '{name}', {encoder_class.__name__}, has no name")
    alone = get_entry("model", found)
    section = alone.dataclass.from_mapping({**known_options(alone.dataclass, options.to_dict()), "_name": found})
    for key, value in alone.cls.AS_ENCODER.items():
        setattr(section, key, value)
    return alone.cls, section.to_dict()


def take_over(cfg: Any, source: ModelSource) -> None:
    """Write the options of a file's encoder into `cfg` where it still has its defaults.

    Raises: ConfigError when `cfg` asks for another encoder, or for input made in another way.
    """
    entry, cls = get_entry("model", source.name), _class_of(cfg)
    theirs = entry.dataclass.from_mapping(source.options)
    their_class, found = entry.cls.encoder_of(theirs)
    encoder_class, section = cls.encoder_of(cfg, their_class)
    core = encoder_class.encoder_class or encoder_class  # without what its pretraining adds
    if not issubclass(their_class, core):
        raise ConfigError(
            f"model.model_path={source.where} holds a model '{source.name}', whose encoder this model cannot use; "
            f"give a file whose encoder is a {core.__name__}, or set model.no_pretrained_weights=true"
        )
    if _keeps_head(cfg):
        if entry.cls is not cls:
            raise ConfigError(
                f"model.keep_head=true, but {source.where} holds a model '{source.name}' and not a '{cfg._name}'; "
                f"give the checkpoint of one, or set model.keep_head=false"
            )
        for key in ("num_labels", *cls.HEAD):
            if vars(cfg)[key] is None:  # as the encoder has it, which the file has decided
                setattr(cfg, key, vars(theirs)[key])
            _take(cfg, theirs, key, source.where, fixed=True)
    made = {**_options(found), **_options(theirs)}
    if any(step["name"] == "normalise" for step in (source.signal.steps if source.signal else [])):
        made.pop("normalize", None)  # the contract says more, and is compared with that of the data
    _check_input({**_options(section), **_options(cfg)}, made, source.where)
    asks = cls if issubclass(cls, core) else encoder_class
    for key in asks.ARCHITECTURE or ():
        _take(section, found, key, source.where, fixed=True)
    for key in _of_encoder(section) if asks.ARCHITECTURE is None else asks.inherited_options(section):
        _take(section, found, key, source.where, fixed=False)


def _take(section: BaseConfig, found: BaseConfig, key: str, where: str, fixed: bool) -> None:
    """One option of the file; where the recipe sets another value, that is an error, or, not `fixed`, kept."""
    if key not in found.__dataclass_fields__:
        return
    own, usual, stored = (made.to_dict()[key] for made in (section, type(section)(), found))
    name = dotted(section.__dict__.get("_where") or "model", key)
    if fixed and own not in (usual, stored):
        raise ConfigError(
            f"{name}={own}, but the encoder of {where} has {stored}; leave {name} out or choose the recipe of that "
            f"size, or set model.no_pretrained_weights=true"
        )
    if own in (usual, stored):
        setattr(section, key, getattr(found, key))
    else:
        logger.info("%s=%s; in %s it was %s", name, own, where, stored)


def _class_of(cfg: Any) -> type[BaseModel]:
    return get_entry("model", cfg._name).cls


def _starts_from_a_file(cfg: Any) -> bool:
    return isinstance(cfg, StartOptions) and not cfg.no_pretrained_weights and bool(cfg.model_path)


def _keeps_head(cfg: Any) -> bool:
    return bool(getattr(cfg, "keep_head", False)) and _starts_from_a_file(cfg)


def _pretrained(cfg: Any, cls: type[BaseModel]) -> ModelSource | None:
    if _starts_from_a_file(cfg):
        source = load_source(cfg.model_path)
        check_size(source)
        return source
    if cls.usually_pretrained and not cfg.no_pretrained_weights:
        logger.warning("the encoder starts from random weights: set model.model_path=FILE, or "
                       "model.no_pretrained_weights=true if that is meant")  # fmt: skip
    return None


def _inheriting(model: BaseModel, source: ModelSource) -> BaseModel:
    model.signal, model.origin = source.signal, inherited(source.origin)
    return model


def _options(cfg: BaseConfig) -> dict[str, tuple[Field[Any], Any]]:
    """Options that say how input is made: name -> (field, value)."""
    values = cfg.to_dict()
    return {item.name: (item, values[item.name]) for item in fields(cfg) if item.metadata.get("as_pretrained")}


def _check_input(own: Mapping[str, Any], theirs: Mapping[str, Any], where: str) -> None:
    """Raises: ConfigError when the encoder was trained on input that was made in another way."""
    for name in (name for name in own if name in theirs):
        (item, found), (_, wanted) = own[name], theirs[name]
        if found != wanted:
            key = item.metadata["follows"] or f"model.{name}"
            raise ConfigError(
                f"{where} was trained with {name}={wanted}, but this run has {name}={found}; set "
                f"{key}={str(wanted).lower() if isinstance(wanted, bool) else wanted}"
            )


def _of_encoder(cfg: BaseConfig) -> list[str]:
    """The options of an encoder that names no ARCHITECTURE: all but a head's own and those that follow the run's data.

    What a head's dataclass declares again, such as another default, is the head's.
    """
    bases = [base for base in type(cfg).__mro__ if issubclass(base, StartOptions) or base is BaseConfig]
    own = {name for base in bases for name in inspect.get_annotations(base)}
    return [item.name for item in fields(cfg) if item.name not in own and not item.metadata.get("follows")]


def _key(cls: type[BaseModel], cfg: Any) -> str:
    """The submodule that is the encoder; "" where the model itself is."""
    return "" if issubclass(cls, cls.encoder_of(cfg)[0]) else cls.encoder_key


def _encoder_state(source: ModelSource, encoder: BaseModel) -> dict[str, Tensor]:
    """The encoder's weights in a pretrained or fine-tuned file; parts that it does not have stay behind."""
    entry = get_entry("model", source.name)
    key = _key(entry.cls, entry.dataclass.from_mapping(source.options))
    prefix = f"{key}." if key else ""
    state = {key.removeprefix(prefix): value for key, value in source.state.items() if key.startswith(prefix)}
    state, own = encoder.upgrade_state_dict(state), encoder.state_dict()
    parts = {key.split(".")[0] for key in own}
    kept = {
        key: value
        for key, value in state.items()
        if key.split(".")[0] in parts
        and not key.startswith(encoder.FRESH_WEIGHTS)
        and (key in own or not _is_new(key, encoder))
    }
    if len(kept) < len(state):
        left = sorted({key.split(".")[0] for key in state if key not in kept})
        logger.info("%s: not taken over, as only its pretraining needs them: %s", source.where, ", ".join(left))
    new = {key: own[key] for key in own if _is_new(key, encoder) or key.startswith(encoder.FRESH_WEIGHTS)}
    return {**new, **kept}


def _is_new(key: str, encoder: BaseModel) -> bool:
    return any(f".{name}" in f".{key}" for name in encoder.NEW_WEIGHTS)
