"""Tab completion for bash: what may stand where the cursor is. Nothing that a recipe names is imported for it."""

import importlib
import os
import typing
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

from ecg_signals.cli.app import OPTIONS
from ecg_signals.cli.commands import COMMANDS
from ecg_signals.cli.recipes import packaged_recipes, recipe_names, recipe_sections
from ecg_signals.config import ConfigError, field_default, option_fields
from ecg_signals.registry import REGISTRIES
from ecg_signals.sections import Config

WITH_SETTINGS = ("train", "validate", "inference")


def shell_line() -> str:
    """What a shell reads to complete our commands."""
    commands = " ".join(f"ecg-{name}" for name in COMMANDS)
    return f"complete -o nospace -o default -C 'ecg-list --complete' {commands}"


def candidates() -> list[str]:
    """For the line that bash describes in COMP_LINE and COMP_POINT; a blank behind it says that a word is whole."""
    line = os.environ.get("COMP_LINE", "")[: int(os.environ.get("COMP_POINT") or 10**6)]
    words = line.split()
    word = "" if not words or line[-1].isspace() else words.pop()
    if not words:
        return []
    try:
        found = complete(words[0].rpartition("/")[2].removeprefix("ecg-"), words[1:], word)
    except (ConfigError, OSError, ValueError):  # a line that is not finished need not make sense yet
        return []
    # bash takes a word apart at = and replaces only what stands behind it
    return [text.rpartition("=")[2] if "=" in word else text for text in found]


def complete(command: str, before: list[str], word: str) -> list[str]:
    """What `word`, which stands behind the words `before`, may become."""
    last = before[-1] if before else ""
    if command in WITH_SETTINGS:
        found = _of_settings(before, last, word)
    elif command == "list":
        found = _of_list(before, word)
    elif command == "preprocess" and not before:
        from ecg_signals.cli.preprocess import STEPS

        found = _whole([*REGISTRIES["source"].names(), *STEPS])
    else:
        found = _of_parser(command, last, word)
    return sorted({text for text in found if text.startswith(word)})


def _whole(names: Iterable[str]) -> list[str]:
    return [f"{name} " for name in names]


def _of_settings(before: list[str], last: str, word: str) -> list[str]:
    given = _option(before, "--config-dir", "-cd")
    folders = [*([Path(given).expanduser()] if given else []), packaged_recipes()]
    if last in ("--config-name", "-cn") or word.startswith("--config-name="):
        prefix = "--config-name=" if word.startswith("--config-name=") else ""
        return _whole(f"{prefix}{name}" for folder in folders for name in recipe_names(folder))
    if last in ("--cfg", "-c"):
        return _whole(("job", "hydra", "all"))
    if last in ("--config-dir", "-cd"):
        return []
    if word.startswith("-"):
        return [option if option.endswith("=") else f"{option} " for option in OPTIONS]
    key, equals, _ = word.partition("=")
    if equals:
        return _whole(f"{key}={value}" for value in _values(key.lstrip("+")))
    return _keys(_option(before, "--config-name", "-cn"), word)


def _option(before: list[str], *names: str) -> str | None:
    """The value of an option that was typed already."""
    for at, text in enumerate(before):
        name, equals, value = text.partition("=")
        if name in names:
            return value if equals else (before[at + 1] if at + 1 < len(before) else None)
    return None


def _values(key: str) -> list[str]:
    group = key.removesuffix("._name")
    if group in REGISTRIES:
        return REGISTRIES[group].names()
    section, _, name = key.partition(".")
    for item in fields(_shared()[section]) if section in _shared() else ():
        if item.name == name:
            hint = typing.get_type_hints(_shared()[section])[name]
            return list(map(str, item.metadata.get("choices") or (("true", "false") if hint is bool else ())))
    return []


def _shared() -> dict[str, type]:
    """The sections whose options need no look-up."""
    return {
        item.name: type(field_default(item))
        for item in option_fields(Config)
        if item.name not in REGISTRIES or item.name == "dataset"
    }


def _keys(recipe: str | None, word: str) -> list[str]:
    """Sections, then the keys of one: all of a shared section, of a registered thing those that the recipe sets."""
    section, dot, _ = word.lstrip("+").partition(".")
    plus = word[: len(word) - len(word.lstrip("+"))]
    if not dot:
        return [f"{plus}{item.name}." for item in option_fields(Config)]
    keys = ["_name"] if section in REGISTRIES else []
    keys += [item.name for item in fields(_shared()[section])] if section in _shared() else []
    known = recipe and (packaged_recipes() / f"{recipe}.yaml").is_file()
    set_there = recipe_sections(packaged_recipes(), str(recipe)).get(section) if known else None
    return [f"{plus}{section}.{key}=" for key in {*keys, *(set_there if isinstance(set_there, dict) else ())}]


def _of_list(before: list[str], word: str) -> list[str]:
    names = [text for text in before if not text.startswith("-")]
    if word.startswith("-"):
        return _of_parser("list", "", word)
    if not names:
        return _whole([*REGISTRIES, "recipe"])
    if len(names) > 1:
        return []
    known = recipe_names(packaged_recipes()) if names[0] == "recipe" else []
    return _whole(REGISTRIES[names[0]].names() if names[0] in REGISTRIES else known)


def _of_parser(command: str, last: str, word: str) -> list[str]:
    """Options, and the choices of one, of a command with words and --options."""
    if command not in COMMANDS or command == "preprocess":
        return []
    made = importlib.import_module(f"ecg_signals.cli.{command}").parser()
    parser, stages = made if isinstance(made, tuple) else (made, None)
    if stages is not None and not word.startswith("-") and last == "":
        return _whole(stages.choices)
    options = parser._option_string_actions
    if last in options and options[last].choices:
        return _whole(options[last].choices)
    return _whole(options) if word.startswith("-") else []
