"""Registries: a decorator gives a class a name, `build` makes it from that name.

Our own files are found by scanning the folder of the kind's base class for the decorators, so a name costs its
module's import only when it is used. Plugins come from `common.user_dir` or the entry-point group
`ecg_signals.plugins`.
"""

import importlib
import importlib.metadata
import os
import re
import sys
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, make_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from ecg_signals.config import BaseConfig, ConfigError, UsageError, field_default, nearest, option_fields, resolve_input
from ecg_signals.interop.fairseq_signals.ignored import live_values
from ecg_signals.interop.hubert_ecg.old_names import todays_name

_PACKAGE = Path(__file__).parent
USER_DIRS = "ECG_SIGNALS_USER_DIRS"  # environment variable: plugins that processes of ours import as well
_DECORATOR = re.compile(r'^@register_(\w+)\(\s*"([^"]+)"', re.MULTILINE)
T = TypeVar("T")
C = TypeVar("C")


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One registered thing: `cls(cfg)` builds it; `declared` is the dataclass that stands beside it."""

    kind: str
    name: str
    cls: type[T]
    declared: type[BaseConfig]

    @property
    def dataclass(self) -> type[Any]:
        """Its options: those that it declares, and those of the things of `options_of`."""
        return with_options_of(self.declared)

    @property
    def file(self) -> str:
        return sys.modules[self.cls.__module__].__file__ or ""

    @property
    def summary(self) -> str:
        """One line: the module's docstring, but the class's where the module registers several."""
        module = self.cls.__module__
        entries = [entry for registry in REGISTRIES.values() for entry in registry.entries.values()]
        classes = {entry.cls for entry in entries if entry.cls.__module__ == module}
        return choose_summary(self.cls.__doc__, sys.modules[module].__doc__, alone=len(classes) == 1)


def choose_summary(of_class: str | None, of_module: str | None, alone: bool) -> str:
    """First line of the docstring that describes a class; a file of its own says at its top what it holds."""
    chosen = (of_module or of_class) if alone else (of_class or of_module)
    return (chosen or "").strip().partition("\n")[0]


@cache
def _scan(kind: str, folder: Path) -> dict[str, str]:
    """name -> module, of our own files below `folder`."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        for decorated, name in _DECORATOR.findall(path.read_text(encoding="utf-8")):
            if decorated == kind:
                found[name] = ".".join(("ecg_signals", *path.relative_to(_PACKAGE).with_suffix("").parts))
    return found


def hint(name: str, known: Iterable[str]) -> str:
    """What stands behind an unknown name: its nearest neighbour."""
    guess = nearest(name, known)
    return f"; did you mean '{guess}'?" if guess else "."


class Registry(Generic[T]):
    """The names of one kind; see `register_model` and its siblings.

    Args:
        kind: what things are called that are registered here.
        base: "module:Class" that they extend; its docstring says what to write.
        package: where ours lie; the base class's.
        maker: "module:function" that makes one from its config; "": the class does.
    """

    def __init__(self, kind: str, base: str, package: str = "", maker: str = "") -> None:
        self.kind = kind
        self.base = base
        self.maker = maker
        self.folder = _PACKAGE.parent.joinpath(*(package or base.partition(":")[0].rpartition(".")[0]).split("."))
        self.entries: dict[str, Entry[T]] = {}

    def __call__(self, name: str, dataclass: type[BaseConfig] | None = None) -> Callable[[type[C]], type[C]]:
        """Decorator that registers a class under `name`, with the dataclass of its options.

        Raises: ValueError when the name is taken, the class does not extend the base class, or `dataclass`
        does not extend BaseConfig; nothing is registered then.
        """

        def register(cls: type[C]) -> type[C]:
            self._check(name, cls, dataclass)
            self.entries[name] = Entry(self.kind, name, typing.cast(type[T], cls), dataclass or BaseConfig)
            return cls

        return register

    def _check(self, name: str, cls: type, options: type[BaseConfig] | None) -> None:
        taken = self.entries.get(name)
        if taken and (taken.cls.__module__, taken.cls.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"{self.kind} '{name}' is already registered by {taken.cls.__module__} ({taken.file})")
        elsewhere = self.ours().get(name)
        if elsewhere and elsewhere != cls.__module__:
            raise ValueError(f"{self.kind} '{name}' is already registered by {elsewhere}; choose another name")
        module, _, base_name = self.base.partition(":")
        base = getattr(importlib.import_module(module), base_name)
        for method, replacement in getattr(base, "PEER_METHODS", {}).items():
            if method in vars(cls):
                raise ConfigError(
                    f"{cls.__module__}.{cls.__name__} defines {method}(), fairseq-signals' interface. Here {self.kind} "
                    f"classes extend {module}.{base_name}: rename it to {replacement}"
                )
        if not (isinstance(cls, type) and issubclass(cls, base)):
            raise ValueError(f"{self.kind} '{name}': {cls.__name__} must extend {module}.{base_name}")
        wanted = getattr(base, "options_class", BaseConfig)
        if not issubclass(options or BaseConfig, wanted):
            found, expected = (options or BaseConfig).__name__, f"{wanted.__module__}.{wanted.__name__}"
            raise ValueError(f"{self.kind} '{name}': its dataclass {found} must extend {expected}")

    def ours(self) -> dict[str, str]:
        """name -> module of this package; nothing is imported for it."""
        return _scan(self.kind, self.folder)

    def names(self) -> list[str]:
        return sorted({*self.ours(), *self.entries})

    def all(self) -> list[Entry[T]]:
        """Every entry, sorted by name; imports ours."""
        return [self.get(name) for name in self.names()]

    def get(self, name: str) -> Entry[T]:
        """The entry called `name`, importing its module at the first look-up.

        Raises: UsageError naming the nearest registered name.
        """
        name = name if name in self.names() else todays_name(self.kind, name)
        if name not in self.entries and name in self.ours():
            importlib.import_module(self.ours()[name])
        failed = installed_plugins() if name not in self.entries else []
        if name not in self.entries:
            reasons = "".join(f" {text}." for text in failed)
            raise UsageError(
                f"unknown {self.kind} '{name}'{hint(name, self.names())} Run `ecg-list {self.kind}` to see them all, "
                f"or name your own package that registers it: common.user_dir=PATH, of commands without settings "
                f"--user-dir PATH.{reasons}"
            )
        return self.entries[name]


# No type parameter stands here: the classes belong to rooms that import this one, and narrow what they look up.
register_model: Registry[Any] = Registry(
    "model", "ecg_signals.models.base:BaseModel", maker="ecg_signals.checkpoint.initialise:begin_model"
)
register_task: Registry[Any] = Registry("task", "ecg_signals.tasks.base:BaseTask")
register_criterion: Registry[Any] = Registry("criterion", "ecg_signals.criteria.base:BaseCriterion")
register_dataset: Registry[Any] = Registry("dataset", "ecg_signals.data.datasets.base:BaseDataset")
register_optimizer: Registry[Any] = Registry("optimizer", "torch.optim:Optimizer", "ecg_signals.optim")
register_lr_scheduler: Registry[Any] = Registry("lr_scheduler", "ecg_signals.optim.schedule:Schedule")
register_transform: Registry[Any] = Registry("transform", "ecg_signals.data.transforms.base:Transform")
register_step: Registry[Any] = Registry("step", "ecg_signals.signal.steps.base:Step")
register_source: Registry[Any] = Registry("source", "ecg_signals.preprocess.source:Source")
register_reader: Registry[Any] = Registry("reader", "ecg_signals.readers.base:Reader")
register_metric: Registry[Any] = Registry("metric", "ecg_signals.metrics.base:Metric")
register_layout: Registry[Any] = Registry("layout", "ecg_signals.interop.layout:Layout")
register_benchmark: Registry[Any] = Registry("benchmark", "ecg_signals.evaluation.benchmarks.base:Benchmark")

REGISTRIES: dict[str, Registry[Any]] = {
    value.kind: value for name, value in list(globals().items()) if name.startswith("register_")
}


def with_options_of(declared: Any) -> type[BaseConfig]:
    """`declared` with the options of every registered thing of its kind `options_of`; itself where it names none.

    Raises: ConfigError when two of them mean different things by one name.
    """
    kind, section = declared.options_of
    return _extended(declared, tuple(REGISTRIES[kind].all()), section) if kind else declared


@cache
def _extended(declared: Any, entries: tuple[Entry[Any], ...], section: str) -> type[BaseConfig]:
    known = {item.name: (typing.get_type_hints(declared)[item.name], item) for item in fields(declared)}
    own, added = set(known), {}
    for entry in entries:
        hints = typing.get_type_hints(entry.declared)
        for item in option_fields(entry.declared):
            before = known.setdefault(item.name, (hints[item.name], item))
            if item.name in own or (before[0], field_default(before[1])) != (hints[item.name], field_default(item)):
                where = f"{entry.kind} '{entry.name}' ({entry.file})"
                raise ConfigError(f"{where} has an option '{item.name}' that means something else; call it otherwise")
            metadata = {**item.metadata, "section": section}
            copy = field(default=item.default, default_factory=item.default_factory, metadata=metadata)
            added[item.name] = (item.name, hints[item.name], copy)
    # an instance travels to another process as the class that was declared and its values
    space = {"__reduce__": lambda self: (_restored, (declared, self.__dict__)), "__module__": declared.__module__}
    return make_dataclass(declared.__name__, list(added.values()), bases=(declared,), namespace=space)


def _restored(declared: type[BaseConfig], values: dict[str, Any]) -> BaseConfig:
    made = object.__new__(with_options_of(declared))
    made.__dict__.update(values)
    return made


def get_entry(kind: str, name: str) -> Entry[Any]:
    """The registered thing `name` of `kind`. Raises: UsageError for an unknown kind or name."""
    if kind not in REGISTRIES:
        raise UsageError(f"unknown kind '{kind}'; known: {', '.join(REGISTRIES)}")
    return REGISTRIES[kind].get(name)


def build(kind: str, name: str, /, *args: Any, **options: Any) -> Any:
    """Build the registered thing `name` of `kind` from its options.

    Positional arguments follow the config; an optimizer's, its parameters, come first, as in torch. A model begins as
    in a run: with the encoder of the file that `model_path` names. Keys of the peer's that do nothing may stay.

    Raises: UsageError for an unknown kind, name or option; ConfigError for a value of the wrong type.
    """
    entry = get_entry(kind, name)
    cfg = entry.dataclass.from_mapping({**live_values(kind, options, entry.dataclass), "_name": name}, where=kind)
    module, _, function = REGISTRIES[kind].maker.partition(":")
    make = getattr(importlib.import_module(module), function) if module else entry.cls
    return make(*args, cfg) if kind == "optimizer" else make(cfg, *args)


def import_user_dir(path: str | Path) -> None:
    """Import every module of a plugin package so that its names are registered; once per path.

    A relative path is looked for where the command was typed, then beside our package, as fairseq does.
    Raises: ConfigError when the path does not exist, its name is taken by another module, or a module fails.
    """
    folder = resolve_input(path).resolve()
    candidates = [candidate for place in (folder, _PACKAGE.parent / path) for candidate in (place, Path(f"{place}.py"))]
    found = next((candidate for candidate in candidates if candidate.exists()), None)
    if found is None:
        raise ConfigError(f"common.user_dir={path}: there is no such folder or module (looked for {folder})")
    folder = found
    name = folder.stem
    loaded = sys.modules.get(name)
    if loaded is not None and Path(loaded.__file__ or "").resolve() not in (folder, folder / "__init__.py"):
        raise ConfigError(f"common.user_dir={path}: a module called '{name}' is already imported; rename the folder")
    if str(folder.parent) not in sys.path:
        sys.path.insert(0, str(folder.parent))
    import_plugin_modules(name, folder, f"common.user_dir={path}")
    known = list(filter(None, os.environ.get(USER_DIRS, "").split(os.pathsep)))
    os.environ[USER_DIRS] = os.pathsep.join(dict.fromkeys([*known, str(folder)]))


def import_plugin_modules(name: str, folder: Path, where: str) -> None:
    """Import a plugin and all modules in its folder, except those whose names start with _ or a dot."""
    modules = [name]
    if folder.is_dir():
        files = sorted(p for p in folder.rglob("*.py") if p.name != "__init__.py" and not p.name.startswith(("_", ".")))
        modules += [".".join((name, *p.relative_to(folder).with_suffix("").parts)) for p in files]
    for module in modules:
        try:
            importlib.import_module(module)
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(f"{where}: importing {module} failed: {type(error).__name__}: {error}") from error


@cache
def installed_plugins() -> list[str]:
    """`load_entry_points`, once per process: a name that is not ours may be an installed plugin's."""
    return [*inherited_plugins(), *load_entry_points()]


@cache
def inherited_plugins() -> list[str]:
    """Import what `import_user_dir` did in the process that started this one. Returns: a message per one that fails."""
    failed = []
    for path in filter(None, os.environ.get(USER_DIRS, "").split(os.pathsep)):
        try:
            import_user_dir(path)
        except ConfigError as error:
            failed.append(str(error))
    return failed


def load_entry_points() -> list[str]:
    """Import all installed plugins, sorted by name. Returns one message per plugin that failed; none is fatal."""
    failed = []
    for point in sorted(importlib.metadata.entry_points(group="ecg_signals.plugins"), key=lambda item: item.name):
        try:
            module = importlib.import_module(point.module)
            path = Path(module.__file__ or "")
            if path.name == "__init__.py":
                import_plugin_modules(point.module, path.parent, f"plugin '{point.name}'")
        except Exception as error:
            owner = point.dist.name if point.dist else point.value
            failed.append(f"plugin '{point.name}' of {owner} was left out: {type(error).__name__}: {error}")
    return failed
