"""What a checkpoint layout is, and what each gives: a registered model's name, its options and its weights."""

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from ecg_signals import limits
from ecg_signals.checkpoint.origin import read_origin
from ecg_signals.checkpoint.plain import plain_values
from ecg_signals.checkpoint.write import write_checkpoint
from ecg_signals.config import BaseConfig, ConfigError, UsageError, known_options, resolve_input, unknown_message
from ecg_signals.metrics.calibrated import Calibration, of_weights, read_calibration
from ecg_signals.metrics.logits import KINDS, is_kind
from ecg_signals.registry import Entry, build, get_entry, installed_plugins, register_layout
from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.millivolt import PUBLISHED

logger = logging.getLogger(__name__)

USUAL = ("state_dict", "model_state_dict", "model")  # keys of weights beside those of a project
OWN = "ecg_signals"  # key of a published form that holds what its project has no place for
PLACEHOLDER = "LABEL_{}"  # what transformers calls a label without a name


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
        calibration: how its logits become probabilities, None when the file does not tell.
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
    calibration: Calibration | None = None

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


class Layout(ABC):
    """One form of checkpoint. A plugin adds its own by `@register_layout("name")` above a class that extends this one.

    Attributes:
        title: for messages.
        rank: layouts of a lower one are asked first whether a file is theirs.
        models: registered names whose published form it is (`ecg-convert --to original`); () takes every model.
    """

    title: ClassVar[str]
    rank: ClassVar[int] = 1
    models: ClassVar[tuple[str, ...]] = ()

    def __init__(self, cfg: BaseConfig) -> None:
        self.cfg = cfg

    @abstractmethod
    def recognise(self, raw: Mapping[str, Any]) -> bool:
        """Whether a file's content, as `read_checkpoint` or `read_folder` returns it, has this form.

        Called for every file, so it looks at keys and types only.
        """

    @abstractmethod
    def read(self, raw: dict[str, Any], where: str) -> ModelSource:
        """The model that a content of this form describes; `where` names the file in messages."""

    def publishes(self, name: str, options: Mapping[str, Any]) -> bool:
        """Whether it is the published form of a model of this registered name with these options.

        A project whose files hold a head on its own encoder also says so of a `classifier` on that encoder.
        """
        return name in self.models

    def write(self, source: ModelSource) -> dict[str, Any]:
        """The content of a file of this form, plain containers and tensors alone; not needed where `save` does it all.

        Raises: ConfigError in a form that is only read.
        """
        raise ConfigError(f"{self.title} are only read: choose another layout with --to (`ecg-list layout`)")

    def save(self, source: ModelSource, dest: Path) -> dict[str, Any]:
        """Write a source, complete with its options and weights, to a file or folder; returns a file's content."""
        content = self.write(source)
        write_checkpoint(dest, content)
        return content

    def places(self, dest: Path) -> list[Path]:
        """The files that `save` writes, and the folder."""
        return [dest]

    def folder_config(self, source: ModelSource) -> dict[str, Any] | None:
        """The project's published `config.json`, None where it has none."""
        return None


def get_layout(name: str) -> Layout:
    """A registered layout. Raises: UsageError naming the nearest."""
    return build("layout", name)


def layouts() -> list[Layout]:
    """All of them, in the order in which they are asked."""
    return sorted(map(get_layout, register_layout.names()), key=lambda layout: layout.rank)


def layout_of(model: str, options: Mapping[str, Any] | None = None) -> Layout | None:
    """The published layout of a registered model with these options, None for models that only this package has."""
    return next((layout for layout in layouts() if layout.publishes(model, options or {})), None)


def recognise(raw: dict[str, Any], where: str) -> Layout:
    """The layout of a file's content. Raises: ConfigError naming what was found and what is known."""
    for known in (layouts, _layouts_of_plugins):
        for layout in known():
            if layout.recognise(raw):
                return layout
    keys = ", ".join(f"{limits.shown(key)} ({type(value).__name__})" for key, value in list(raw.items())[:12])
    titles = "; ".join(layout.title for layout in layouts())
    raise ConfigError(
        f"{where} holds no model that is known here. Found the keys: {keys or 'none'}. Known layouts: {titles}. "
        f"Bare weights do not say which model they belong to: build it with ecg_signals.registry.build(...) and "
        f"use model.load_state_dict."
    )


def _layouts_of_plugins() -> list[Layout]:
    installed_plugins()
    return layouts()


def model_entry(name: Any, cfg: Mapping[str, Any], where: str) -> Entry:
    """The registered model that a file names. Raises: ConfigError telling how to make a plugin's model known."""
    if not name:
        raise ConfigError(
            f"{where} does not say which model it holds: its config has no model._name. Add it there (`ecg-list model`)"
        )
    name = limits.shown(name)
    try:
        return get_entry("model", name)
    except UsageError as error:
        plugin = (cfg.get("common") or {}).get("user_dir")
        plugin = limits.shown(plugin or "FOLDER")
        raise ConfigError(
            f"{where} holds a model '{name}', which no imported package registers ({error}). If your own package does, "
            f"set common.user_dir={plugin} on the command line (--user-dir {plugin} for commands without settings), or "
            "import the package before loading."
        ) from None


def logit_kind_of(cfg: Mapping[str, Any]) -> str | None:
    """What the logits of a model are that was trained by this recipe; None when its criterion is not known."""
    criterion = cfg.get("criterion") or {}
    try:
        entry = get_entry("criterion", criterion["_name"])
    except (KeyError, UsageError):
        return None
    return entry.cls.logits_of(criterion)


def calibration_of(cfg: Mapping[str, Any], count: int | None) -> Calibration | None:
    """What this recipe's criterion says of the logits of a model with `count` of them, where it weighs positives."""
    criterion = cfg.get("criterion") or {}
    try:
        return of_weights(get_entry("criterion", criterion["_name"]).cls.pos_weight_of(criterion), count)
    except (KeyError, UsageError):
        return None


def check_logit_kind(kind: Any, where: str) -> None:
    """Raises: ConfigError when a file says something about its logits that is not known here."""
    if kind is not None and not is_kind(kind):
        raise ConfigError(
            f"{where} states logit_kind={limits.shown(repr(kind))}; known are {', '.join(KINDS)}. Update ecg-signals "
            f"if a later version wrote it, else set logit_kind there to one of these, or to null"
        )


def label_names(id2label: Mapping[Any, Any] | None, count: int | None = None) -> list[str] | None:
    """The names in a config.json's `id2label`; None unless there are `count`, or where all are placeholders."""
    named = {int(key): str(value) for key, value in (id2label or {}).items()}
    whole = sorted(named) == list(range(len(named) if count is None else count))
    if not whole or all(name == PLACEHOLDER.format(i) for i, name in named.items()):
        return None
    return [named[i] for i in sorted(named)]


def label_entries(names: list[str] | None, count: int) -> dict[str, dict[str, Any]]:
    """What config.json says of the labels; placeholders where they have no names."""
    numbered = dict(enumerate(names or map(PLACEHOLDER.format, range(count))))
    return {"id2label": {str(i): name for i, name in numbered.items()}, "label2id": {v: k for k, v in numbered.items()}}


def is_state_dict(value: Any) -> bool:
    """A dict of names and tensors that is not empty."""
    if not isinstance(value, Mapping) or not value:
        return False
    return all(isinstance(key, str) and isinstance(item, Tensor) for key, item in value.items())


def weights_in(raw: Mapping[str, Any], fits: Callable[[Any], bool], *keys: str) -> dict[str, Tensor]:
    """The weights that `fits` knows: under one of a project's `keys`, under a usual one, or bare; {} for others.

    One word before all names, such as the attribute of a Lightning module, is left out.
    """
    for state in (*(raw.get(key) for key in (*keys, *USUAL)), raw):
        for found in (state, _without_owner(state)):
            if isinstance(found, Mapping) and fits(found):
                return dict(found)
    return {}


def _without_owner(state: Any) -> Any:
    """Weights whose names all begin with the same word without it; others as they are."""
    names = [str(key) for key in state] if isinstance(state, Mapping) else []
    owner = f"{names[0].partition('.')[0]}." if names else ""
    if not all(name.startswith(owner) for name in names):
        return state
    return {name.removeprefix(owner): value for name, value in zip(names, state.values())} if names else state


def model_options(dataclass: type[BaseConfig], found: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of `found` that today's dataclass still has."""
    return {key: value for key, value in known_options(dataclass, found).items() if key != "_name"}


def inputs_of(name: str, options: Mapping[str, Any]) -> dict[str, SignalContract]:
    """The input contracts that are known by name for a model, or the encoder within, with these options."""
    entry = get_entry("model", name)
    cls, cfg = entry.cls.encoder_of(entry.dataclass.from_mapping(options))
    return cls.inputs(cfg)


def input_named(source: ModelSource, name: str) -> SignalContract:
    """One of them. Raises: UsageError naming those that there are."""
    known = inputs_of(source.name, source.options)
    if name not in known:
        there = "There are" if known else f"{source.name} has none"
        raise UsageError(unknown_message(f"input '{name}' of {source.where}", name, known, there))
    return known[name]


def own_part(source: ModelSource) -> dict[str, Any]:
    """What a published form without a place for options, labels and input contract says of them under a key of ours."""
    signal = source.signal and source.signal.to_dict()
    ours = {"name": source.name, "options": source.options, "labels": source.labels, "signal": signal,
            "logit_kind": source.logit_kind, "origin": dict(source.origin),
            "calibration": source.calibration and dict(source.calibration.stored)}  # fmt: skip
    return {OWN: plain_values(ours)}


def config_beside(where: str) -> dict[str, Any]:
    """The arguments of its program in a `config.json` beside a file of weights, {} without one, or in another form."""
    path = resolve_input(where).parent / "config.json"
    if not path.is_file():
        return {}
    try:
        found = limits.read_json(path)
    except ConfigError:
        return {}
    return found if isinstance(found, dict) else {}


def stated_heads(config: Mapping[str, Any], key: str, width: int, usual: int, where: str) -> int:
    """Attention heads, which weights do not tell: as the program's config says, else as published, which is said."""
    stated = config.get(key)
    if isinstance(stated, int) and stated > 0:
        return stated
    if width % usual:
        usual = math.gcd(width, usual)
    logger.warning("%s does not say how many heads its attention has, and weights do not tell: taken are %d of %d. Put "
                   "a config.json with %s beside it if that is wrong", where, usual, width // usual, key)  # fmt: skip
    return usual


def with_own_part(found: ModelSource) -> ModelSource:
    """A source as its file's own part says, else with the published input; nothing is guessed for a file of ours."""
    ours = found.raw.get(OWN)
    if not isinstance(ours, Mapping):
        return replace(found, signal=inputs_of(found.name, found.options).get(PUBLISHED))
    entry = model_entry(ours.get("name"), {}, found.where)
    return replace(
        found, name=entry.name, options=model_options(entry.dataclass, ours["options"]), labels=ours.get("labels"),
        signal=SignalContract.from_dict(ours["signal"]) if ours.get("signal") else None,
        logit_kind=ours.get("logit_kind"), origin=read_origin(ours.get("origin")),
        calibration=read_calibration(ours.get("calibration"), found.where),
    )  # fmt: skip
