"""From plain sections, as hydra or a checkpoint holds them, to a typed Config."""

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import Field, fields
from types import NoneType
from typing import Any

from ecg_signals.config import (
    BaseConfig,
    ConfigError,
    UsageError,
    field_default,
    known_options,
    option_fields,
    plain,
    unknown_message,
)
from ecg_signals.interop.fairseq_signals.ignored import IGNORED, ignored_values, live_values
from ecg_signals.interop.hubert_ecg.old_names import with_todays_names
from ecg_signals.registry import get_entry, register_dataset, register_model
from ecg_signals.sections import REGISTERED_GROUPS, Config

logger = logging.getLogger(__name__)

MOST_STORED = 50_000  # values of a checkpoint's options
MOST_REFERENCES = 1000  # between options, counted as often as they are followed; recipes have about 30
_REFERENCE = re.compile(r"\$\{[\w.]+\}")
DEFAULT_NAMES = {"criterion": "cross_entropy", "lr_scheduler": "fixed"}
KNOWN_EXTRAS = ("_name", "args", "job_logging_cfg", "hydra")  # top-level keys of fairseq-signals' files without options


def resolve_config(raw: Mapping[str, Any], *, lenient: bool = False) -> Config:
    """Typed sections from plain ones; references between sections are resolved.

    Args:
        raw: section -> key -> value; a registered group names its class in `_name`, or is that name itself.
        lenient: drop keys that no longer exist instead of raising (for configs stored in checkpoints).
    Raises: UsageError for an unknown section, key or registered name, ConfigError for a wrong value.
    """
    raw = {key: value for key, value in raw.items() if key not in KNOWN_EXTRAS}
    raw = without_resolvers(raw) if lenient else raw
    groups = _groups(raw, lenient)
    classes = _section_classes(groups)
    groups |= {key: groups.get(key) or {} for key in classes}
    chosen, reading = dataset_name(groups), reading_options([classes["dataset"]])
    typed = reading.keys() & (groups.get("task") or {}) - groups["dataset"].keys()
    groups["dataset"] = moved(groups, reading)
    ignored = {key: ignored_values(key, groups[key], cls) for key, cls in classes.items()}
    if "task" in classes:
        ignored["task"] |= _unread(groups["task"], chosen, classes, lenient)
    groups |= {key: options_of(key, groups[key], cls, lenient or key == "task") for key, cls in classes.items()}
    merged = {key: _with_defaults(groups[key], cls) for key, cls in classes.items()}
    merged["dataset"]["_name"] = chosen
    _follow(merged, groups, classes)
    resolved = _resolve_references(as_typed(merged, reading))
    resolved = {key: {item: resolved[key][item] for item in merged[key]} for key in classes}
    classes["dataset"].from_mapping({key: resolved["dataset"][key] for key in typed}, where="task")  # names them so
    sections: dict[str, Any] = {key: cls.from_mapping(resolved[key], where=key) for key, cls in classes.items()}
    sections["dataset"].__dict__["_typed"] = dict.fromkeys(typed, "task")
    config = Config(**sections)
    config.ignored = {key: found for key, found in ignored.items() if found}
    return config


def _groups(raw: Mapping[str, Any], lenient: bool) -> dict[str, Any]:
    """The sections that a recipe names, criterion and schedule also where it leaves them out."""
    known = [item.name for item in option_fields(Config)]
    for key in raw:
        if key not in known and not lenient:
            raise UsageError(unknown_message(f"section '{key}'", key, known, "A recipe has"))
    groups = with_todays_names({key: _as_mapping(key, value) for key, value in raw.items() if key in known})
    for group, name in DEFAULT_NAMES.items():
        if not groups.get(group) and groups.get("model") is not None and not lenient:
            groups[group] = {"_name": name}
    return groups


def reading_options(datasets: Iterable[type[BaseConfig]] | None = None) -> dict[str, Field[Any]]:
    """The options of these datasets, of all by default, that users type in the section `task`."""
    chosen = [entry.dataclass for entry in register_dataset.all()] if datasets is None else datasets
    return {item.name: item for one in chosen for item in fields(one) if item.metadata.get("section") == "task"}


def moved(groups: Mapping[str, Any], reading: Iterable[str]) -> dict[str, Any]:
    """The section `dataset` with its options that are typed in `task`; where both say something, `dataset` counts."""
    task = groups.get("task") or {}
    return {key: task[key] for key in reading if key in task} | dict(groups.get("dataset") or {})


def as_typed(groups: Mapping[str, Any], reading: Iterable[str]) -> dict[str, Any]:
    """`groups` with those options of the dataset in the section `task` as well."""
    task, dataset = groups.get("task"), groups.get("dataset") or {}
    return {**groups, "task": {key: dataset[key] for key in reading if key in dataset} | task} if task else dict(groups)


def _unread(task: Mapping[str, Any], name: str | None, classes: Mapping[str, Any], lenient: bool) -> dict[str, Any]:
    """What a recipe sets in `task` that other datasets read, but not this one; warns of other values than the usual.

    Raises: UsageError for a key that none reads, unless `lenient`.
    """
    known = {*classes["task"].__dataclass_fields__, *reading_options([classes["dataset"]])}
    rest = {key: value for key, value in task.items() if key not in known and key not in IGNORED["task"]}
    others, found = reading_options() if rest else {}, {}
    for key, value in rest.items():
        if key in others and value != plain(field_default(others[key])):
            logger.warning("task.%s=%s has no effect: dataset %s does not read it", key, value, name)
            found[key] = value
        elif key not in others and not lenient:
            owner = f"{classes['task'].__name__} and {classes['dataset'].__name__} have"
            raise UsageError(unknown_message(f"key 'task.{key}'", key, known, owner))
    return found


def without_resolvers(stored: Any) -> Any:
    """Options out of a stranger's file, in which ${...} names another option or is text: no ${oc.env:...} is resolved.

    Raises: ConfigError for more options than any recipe has.
    """
    left = MOST_STORED

    def visit(value: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise ConfigError(f"the stored options have more than {MOST_STORED:,} values (docs/limits.md)")
        if isinstance(value, Mapping):
            return {key: visit(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [visit(item) for item in value]
        if isinstance(value, str) and not _REFERENCE.fullmatch(value):
            return re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", value)
        return value

    return visit(stored)


def _as_mapping(group: str, value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, str):
        return {"_name": value}
    if value is not None and not isinstance(value, Mapping):
        raise UsageError(f"section '{group}' is {value!r}; expected keys and values, such as {group}._name=NAME")
    return named_model(value) if group == "model" and value else value


def named_model(section: Mapping[str, Any]) -> Mapping[str, Any]:
    """fairseq-signals also takes `arch` for a model's name, or that name as the one key, with the options below it."""
    rest = {key: value for key, value in section.items() if key != "_name"}
    if section.get("_name"):
        return section
    if rest.get("arch"):
        return {"_name": rest.pop("arch"), **rest}
    name, options = next(iter(rest.items()), (None, None))
    if len(rest) == 1 and (options is None or isinstance(options, Mapping)) and name in register_model.names():
        return {"_name": name, **(options or {})}
    return section


def _section_classes(groups: Mapping[str, Any]) -> dict[str, type[BaseConfig]]:
    """The dataclass of every section present; registered groups look theirs up by `_name`."""
    classes: dict[str, type[BaseConfig]] = {}
    for item in option_fields(Config):
        if item.name not in REGISTERED_GROUPS and item.name != "dataset":
            classes[item.name] = type(field_default(item))
        elif item.name == "dataset":
            name = dataset_name(groups)
            classes["dataset"] = get_entry("dataset", name).dataclass if name else type(field_default(item))
        elif groups.get(item.name):
            name = groups[item.name].get("_name")
            if not name:
                raise UsageError(
                    f"section '{item.name}' names no {item.name}; set {item.name}._name=NAME (`ecg-list {item.name}`)"
                )
            classes[item.name] = get_entry(item.name, name).dataclass
    return classes


def dataset_name(groups: Mapping[str, Any]) -> str | None:
    """`dataset._name`, else the task's own choice, else the criterion's usual one; None without a task."""
    chosen = (groups.get("dataset") or {}).get("_name")
    if chosen or not groups.get("task"):
        return chosen
    if not groups["task"].get("_name"):
        return None
    task = get_entry("task", groups["task"]["_name"])
    criterion = (groups.get("criterion") or {}).get("_name")
    usual = getattr(get_entry("criterion", criterion).cls, "dataset", "ecg_file") if criterion else "ecg_file"
    return task.cls.dataset_name(groups["task"], usual)


def options_of(group: str, values: Mapping[str, Any], cls: type[BaseConfig], lenient: bool = False) -> dict[str, Any]:
    """A section without the keys that do nothing; lenient: without all that are no options."""
    return known_options(cls, values) if lenient else live_values(group, values, cls)


def _with_defaults(values: Mapping[str, Any], cls: type[BaseConfig]) -> dict[str, Any]:
    known = {item.name for item in fields(cls)}
    values = {key: value for key, value in values.items() if key != "arch" or "arch" in known}
    return {**{item.name: field_default(item) for item in fields(cls)}, **values}


def _follow(
    merged: dict[str, dict[str, Any]], groups: Mapping[str, Any], classes: Mapping[str, type[BaseConfig]]
) -> None:
    """Keys declared with `follows` take the other section's value where the user left them unset."""
    leaders = as_typed(merged, reading_options([classes["dataset"]]))
    for group, cls in classes.items():
        for item in fields(cls):
            section, _, key = item.metadata.get("follows", "").partition(".")
            if section and item.name not in (groups.get(group) or {}) and key in leaders.get(section, {}):
                merged[group][item.name] = leaders[section][key]


def _may_refer(node: Any) -> bool:
    """Whether something in it is a text with a reference, or no plain value."""
    if isinstance(node, dict):
        return any(not isinstance(key, str) or _may_refer(value) for key, value in node.items())
    if isinstance(node, list | tuple):
        return any(map(_may_refer, node))
    return "${" in node if isinstance(node, str) else type(node) not in (bool, int, float, NoneType)


def _plain_copy(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _plain_copy(value) for key, value in node.items()}
    return [_plain_copy(value) for value in node] if isinstance(node, list | tuple) else node


def _resolve_references(merged: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Resolve OmegaConf's ${section.key}; a reference to a missing key stays, and raises when it is read."""
    if not _may_refer(merged):  # which takes OmegaConf most of the time of making a configuration
        return {key: _plain_copy(section) for key, section in merged.items()}

    from omegaconf import OmegaConf
    from omegaconf.errors import InterpolationResolutionError

    tree = OmegaConf.create(merged, flags={"allow_objects": True})
    left = MOST_REFERENCES

    def resolve(node: Any) -> Any:
        if OmegaConf.is_dict(node):
            return {key: resolve_item(node, key) for key in node}
        if OmegaConf.is_config(node):  # a list, or omegaconf 2.4's tuple
            return [resolve_item(node, index) for index in range(len(node))]
        return node

    def resolve_item(node: Any, key: Any) -> Any:
        nonlocal left
        left -= OmegaConf.is_interpolation(node, key)
        if left < 0:
            raise ConfigError(f"the options refer to each other more than {MOST_REFERENCES:,} times")
        if OmegaConf.is_missing(node, key):
            return "???"
        try:
            return resolve(node[key])
        except InterpolationResolutionError:
            return OmegaConf.to_container(node, resolve=False)[key]  # type: ignore[index]

    try:
        return {key: resolve_item(tree, key) for key in merged}
    except RecursionError:
        raise ConfigError("an option refers to a section that it is part of; write its value instead") from None
