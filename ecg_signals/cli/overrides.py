"""Settings as users type them, `key=value`, turned into overrides that hydra's grammar accepts.

A value is taken as it was typed wherever hydra's grammar would refuse it, or would change it although the option is a
text such as a path: it is quoted before hydra sees it. What hydra reads as a list, a dict, a number, null, a reference
`${...}`, a quoted text or a sweep keeps that meaning; docs/running.md states the rule for users.
"""

import re
import types
import typing
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from ecg_signals.config import ConfigError, UsageError, field_default
from ecg_signals.sections import REGISTERED_GROUPS, Config, DatasetConfig

GROUPS = (*REGISTERED_GROUPS, "dataset")
_KEY = re.compile(r"[A-Za-z_][\w-]*(?:[./@][\w-]+)*", re.ASCII)
_FUNCTIONS = ("choice", "range", "glob", "interval", "shuffle", "sort", "tag", "str", "int", "float", "bool")
_FUNCTION = re.compile(rf"({'|'.join(_FUNCTIONS)}|json_str|extend_list)\(.*\)", re.DOTALL)
_OPEN, _CLOSE = "([{", ")]}"

TypeOf = Callable[[str], Any]  # key -> declared type of that option, None where it is not known


def unknown_type(key: str) -> Any:
    """For settings of which nothing is known."""
    return None


def hydra_override(text: str, folder: Path, type_of: TypeOf = unknown_type, many: bool = False) -> str:
    """One override as hydra takes it for a plain, unschematised config.

    Args:
        text: as typed: key=value, +key=value, ++key=value or ~key.
        folder: the recipe's; `model=tiny` chooses its file model/tiny.yaml, if there is one.
        type_of: the declared type of an option.
        many: commas separate the values of a sweep.
    Raises: UsageError when it is none of these, or gives several values to one setting without `many`.
    """
    _check_text(text)
    if text.startswith("~"):
        return _removal(text)
    key, equals, value = text.lstrip("+").partition("=")
    if not equals or not _KEY.fullmatch(key) or len(text) - len(text.lstrip("+")) > 2:
        raise UsageError(f"'{text}' is not a setting; write key=value, such as optimization.max_update=100")
    if (folder / key).is_dir() and (folder / key / f"{value}.yaml").is_file():
        return f"{key}={value}"
    if re.match(r"hydra[./@]", key):
        plus = text[: len(text) - len(text.lstrip("+"))]
        return f"{plus}{key}={hydra_value(key, value, type_of, many)}"
    names_a_class = re.fullmatch(r"[\w-]+(,[\w-]+)*", value, re.ASCII) and value not in ("null", "None")
    if key in GROUPS and names_a_class:
        key = f"{key}._name"
    return f"++{key}={hydra_value(key, value, type_of, many)}"


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{text!r} holds bytes that are no UTF-8; rename that file or folder") from None
    if "\0" in text:
        raise UsageError(f"{text!r} holds a NUL character; write key=value")


def _removal(text: str) -> str:
    key, equals, value = text[1:].partition("=")
    if not _KEY.fullmatch(key):
        raise UsageError(
            f"'{text}' is not a setting; write key=value (such as task.data={text}), or ~key to remove a key"
        )
    return f"~{key}={hydra_value(key, value, unknown_type, False)}" if equals else text


def hydra_value(key: str, value: str, type_of: TypeOf, many: bool) -> str:
    """The right side of `key=value` as hydra's grammar takes it. Raises: UsageError as `hydra_override`."""
    parsed = _parse(value)
    if _agreed(parsed, value):
        return value
    hint = type_of(key)
    if many and "," in value and (elements := _split(value)) and len(elements) > 1:
        return ",".join(_element(element.strip(), hint) for element in elements)
    if _is_sweep(parsed) and not many and (_FUNCTION.fullmatch(value) or not _is_text(hint, value)):
        raise UsageError(
            f"'{key}={value}' gives several values to one setting. For one value with commas quote it twice, "
            f"\"{key}='{value}'\"; for a list write {key}=[{value}]; for one run per value add --multirun"
        )
    return _element(value, hint)


def _element(value: str, hint: Any) -> str:
    """One value, or one of a sweep's."""
    parsed = _parse(value)
    if _agreed(parsed, value):
        return value
    if parsed is None:
        inner = _split(value[1:-1]) if value.startswith("[") and value.endswith("]") else None
        if inner and _is_list_of_text(hint):
            return "[" + ",".join(_element(part.strip(), str) for part in inner) + "]"
        return quoted(value)
    keeps_its_meaning = value in ("", "null", "???") or _is_quoted(parsed) or _FUNCTION.fullmatch(value)
    return value if keeps_its_meaning or not _is_text(hint, value) else quoted(value)


def quoted(value: str) -> str:
    """`value` between quotes that hydra removes; a leading ~ becomes the home folder, a stray ${ stays text."""
    from hydra.core.override_parser.types import Quote, QuotedString
    from omegaconf import grammar_parser
    from omegaconf.errors import GrammarParseError

    if value.startswith("~"):
        with suppress(RuntimeError):  # ~name of nobody: a file may be called so
            value = str(Path(value).expanduser())
    if "${" in value:
        try:
            grammar_parser.parse(value)
        except GrammarParseError:
            value = value.replace("${", "\\${")
    return QuotedString(value, Quote.single).with_quotes()


def _parse(value: str) -> Any:
    """What hydra's grammar makes of a value; None where it refuses it (hydra's own null is "null" here)."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_override(f"++key={value}")._value
    except (HydraException, RecursionError):
        return None
    return value if parsed is None else parsed


def _agreed(parsed: Any, value: str) -> bool:
    """Whether hydra reads a text, and the very one that was typed."""
    return isinstance(parsed, str) and parsed == value and "\\" not in value


def _is_sweep(parsed: Any) -> bool:
    from hydra.core.override_parser.types import Glob, Sweep

    return isinstance(parsed, (Sweep, Glob))


def _is_quoted(parsed: Any) -> bool:
    from hydra.core.override_parser.types import QuotedString

    return isinstance(parsed, QuotedString)


def _is_text(hint: Any, value: str) -> bool:
    """Whether an option of this type takes `value` as it was typed; where the type is unknown, whether it is a path."""
    if hint is None:
        return bool(re.search(r"[/\\]", value)) and value[0] not in "[{'\"" and not _FUNCTION.fullmatch(value)
    return _arms(hint) <= {str, Path} and bool(_arms(hint))


def _is_list_of_text(hint: Any) -> bool:
    return any(typing.get_origin(arm) is list and typing.get_args(arm) == (str,) for arm in _arms(hint))


def _arms(hint: Any) -> set[Any]:
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return {arm for arm in (typing.get_args(hint) if union else (hint,)) if arm is not type(None)}


def _split(text: str) -> list[str] | None:
    """Parts between the commas outside quotes and brackets; None where those do not match."""
    parts: list[str] = []
    depth: list[str] = []
    quote, start = "", 0
    for at, character in enumerate(text):
        if quote:
            quote = "" if character == quote and text[at - 1] != "\\" else quote
        elif character in "'\"" and (at == start or text[start:at].isspace() or depth):
            quote = character
        elif character in _OPEN:
            depth.append(_CLOSE[_OPEN.index(character)])
        elif character in _CLOSE and (not depth or depth.pop() != character):
            return None
        elif character == "," and not depth:
            parts.append(text[start:at])
            start = at + 1
    return None if depth or quote else [*parts, text[start:]]


# ---------------------------------------------------------------------------------------------------- declared types


class DeclaredTypes:
    """The declared type of every option, by its key.

    Args:
        sections: makes the recipe's sections with the names chosen on the command line; called at the first key of a
            registered group.
    """

    def __init__(self, sections: Callable[[], Mapping[str, Any]]) -> None:
        self._make_sections = sections
        self._classes: dict[str, Any] = {}

    def __call__(self, key: str) -> Any:
        section, *path = re.split(r"[.]", key)
        if section == "hydra" or key.startswith("hydra/"):
            from hydra.conf import HydraConf

            return _type_below(HydraConf, path)
        if section not in self._classes:
            try:
                self._classes[section] = self._class_of(section)
            except (ConfigError, ImportError, AttributeError, TypeError):  # the run itself says what is wrong
                self._classes[section] = None
        within = f"{section}.{path[0]}" if path else ""
        if within in self._classes:
            return _type_below(self._classes[within], path[1:])
        found = _type_below(self._classes[section], path)
        return self(".".join(("dataset", *path))) if found is None and section == "task" else found  # see composition

    def _class_of(self, section: str) -> Any:
        if section not in GROUPS:
            known = {item.name: item for item in fields(Config)}
            return type(field_default(known[section])) if section in known else None
        from ecg_signals.composition import dataset_name
        from ecg_signals.registry import get_entry

        sections = self._make_sections()
        name = dataset_name(sections) if section == "dataset" else (sections.get(section) or {}).get("_name")
        if name is None:
            return DatasetConfig if section == "dataset" else None
        cls = get_entry(section, name).dataclass
        within = cls.sections_within(sections.get(section) or {})
        self._classes |= {f"{section}.{key}": inner for key, inner in within.items()}
        return cls


def _type_below(cls: Any, path: list[str]) -> Any:
    """The type of a nested field; None where there is no such field."""
    hint = cls
    for name in path:
        hint = next(iter(_arms(hint)), None)
        if isinstance(hint, type) and is_dataclass(hint):
            hint = typing.get_type_hints(hint).get(name)
        elif typing.get_origin(hint) is dict:
            hint = typing.get_args(hint)[1]
        else:
            return None
    return None if hint is Any or not path else hint
