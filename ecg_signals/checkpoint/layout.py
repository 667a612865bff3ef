"""What every checkpoint layout gives: a registered model's name, its options and its weights.

A layout is one entry in a module's `LAYOUTS`: `checkpoint/fairseq.py` for fairseq-signals and our own files,
`checkpoint/huggingface.py` for our folders, and a module for each other family.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from torch import Tensor

from ecg_signals import limits
from ecg_signals.config import BaseConfig, ConfigError, UsageError, known_options
from ecg_signals.metrics.logits import KINDS
from ecg_signals.registry import get_entry
from ecg_signals.signal.contract import SignalContract


@dataclass
class ModelSource:
    """A model as a file describes it, before it is built.

    Attributes:
        name: registered name of the model.
        options: of the model's dataclass; what the file does not say takes today's default.
        state: weights under the names of `model.state_dict()`, or of an older spelling that
            `model.upgrade_state_dict` renames.
        labels: names of the columns of `logits`, None when the file does not tell.
        signal: the input contract.
        logit_kind: what the logits are (metrics/logits.py), None when the file does not tell.
        cfg: the recipe as plain sections, {} when the file has none.
        raw: the whole content of the file.
        layout: name of the layout that was recognised.
        where: the file or folder, for messages.
        origin: where the weights come from (checkpoint/origin.py), {} when the file does not tell.
    """

    name: str
    options: dict[str, Any]
    state: dict[str, Tensor]
    labels: list[str] | None = None
    signal: SignalContract | None = None
    cfg: dict[str, Any] = field(default_factory=dict)
    raw: dict[str, Any] = field(default_factory=dict)
    layout: str = ""
    where: str = ""
    logit_kind: str | None = None
    origin: dict[str, Any] = field(default_factory=dict)

    @property
    def logits(self) -> int | None:
        """Columns of the logits, None for a model without a head."""
        return logit_columns(self.options)


def logits_option(options: Mapping[str, Any]) -> str | None:
    """The option that says how many columns the logits have, None for a model without a head."""
    return next((key for key in ("num_labels", "output_dim") if options.get(key)), None)


def logit_columns(options: Mapping[str, Any]) -> int | None:
    """Columns of the logits of a model with these options, None for one without a head."""
    key = logits_option(options)
    return None if key is None else int(options[key])


@dataclass(frozen=True)
class Layout:
    """One form of checkpoint.

    Attributes:
        name: for messages and `ecg-convert`.
        recognise: content of a file -> whether it has this form; looks at keys and types only.
        convert: content, path for messages -> ModelSource.
        export: ModelSource -> content of a file of this form with plain containers, None where it cannot be written.
        models: registered names that `export` takes.
        folder_config: ModelSource -> the family's published `config.json`, None where it has none.
    """

    name: str
    recognise: Callable[[Mapping[str, Any]], bool]
    convert: Callable[[dict[str, Any], str], ModelSource]
    export: Callable[[ModelSource], dict[str, Any]] | None = None
    models: tuple[str, ...] = ()
    folder_config: Callable[[ModelSource], dict[str, Any]] | None = None


_MODULES = ("huggingface", "hubert_ecg", "fairseq")


@cache
def layouts() -> list[Layout]:
    """All layouts: Hugging Face folders of ours, the model families', then fairseq-signals', the widest description."""
    modules = (importlib.import_module(f"ecg_signals.checkpoint.{name}") for name in _MODULES)
    return [layout for module in modules for layout in module.LAYOUTS]


def layout_of(model: str) -> Layout | None:
    """The published layout of a registered model's family, None for models that only this package has."""
    return next((layout for layout in layouts() if model in layout.models), None)


def recognise(raw: dict[str, Any], where: str) -> Layout:
    """The layout of a file's content. Raises: ConfigError naming what was found and what is known."""
    for layout in layouts():
        if layout.recognise(raw):
            return layout
    keys = ", ".join(f"{limits.shown(key)} ({type(value).__name__})" for key, value in list(raw.items())[:12])
    known = "; ".join(layout.name for layout in layouts())
    raise ConfigError(
        f"{where} holds no model that is known here. Found the keys: {keys or 'none'}. Known layouts: {known}. "
        f"Bare weights do not say which model they belong to: build it with ecg_signals.registry.build(...) and "
        f"use model.load_state_dict."
    )


def logit_kind_of(cfg: Mapping[str, Any]) -> str | None:
    """What the logits of a model are that was trained by this recipe; None when its criterion is not known."""
    criterion = cfg.get("criterion") or {}
    try:
        entry = get_entry("criterion", criterion["_name"])
    except (KeyError, UsageError):
        return None
    return entry.cls.logits_of(criterion)


def check_logit_kind(kind: Any, where: str) -> None:
    """Raises: ConfigError when a file says something about its logits that is not known here."""
    if kind is not None and not (isinstance(kind, str) and kind in KINDS):
        raise ConfigError(
            f"{where} states logit_kind={limits.shown(repr(kind))}; known are {', '.join(KINDS)}. Update ecg-signals "
            f"if a later version wrote it, else set logit_kind there to one of these, or to null"
        )


def is_state_dict(value: Any) -> bool:
    """A dict of names and tensors that is not empty."""
    if not isinstance(value, Mapping) or not value:
        return False
    return all(isinstance(key, str) and isinstance(item, Tensor) for key, item in value.items())


def model_options(dataclass: type[BaseConfig], found: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of `found` that today's dataclass still has."""
    return {key: value for key, value in known_options(dataclass, found).items() if key != "_name"}
