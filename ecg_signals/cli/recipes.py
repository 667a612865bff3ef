"""Recipes as files: the packaged ones and those of a folder of the user's."""

import os
import shlex
from collections.abc import Callable, Iterator
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any

from ecg_signals.config import UsageError, listed
from ecg_signals.limits import MAX_FOLDER_ENTRIES
from ecg_signals.registry import hint

_LISTED = 60  # recipes in a message


def packaged_recipes() -> Path:
    """The folder of the recipes that come with the package."""
    import ecg_signals.configs

    return Path(next(iter(ecg_signals.configs.__path__)))


def find_recipe(config_name: str | None, config_dir: str | None) -> tuple[Path, str]:
    """Folder and name of the recipe. Raises: UsageError naming the nearest recipe and where it was looked for."""
    name = (config_name or "config").removesuffix(".yaml")
    folders = [packaged_recipes()]
    if config_dir:
        given = Path(config_dir).expanduser().resolve()
        if not given.is_dir():
            raise UsageError(
                f"--config-dir {config_dir} is not a folder; name one with yaml files, or leave it out for "
                f"the packaged recipes"
            )
        folders.insert(0, given)
    for folder in folders:
        if (folder / f"{name}.yaml").exists():
            return folder, name
    here = Path(f"{name}.yaml").expanduser()
    if here.exists():
        place, shown = shlex.quote(str(here.parent)), shlex.quote(here.stem)
        raise UsageError(f"--config-name {name} is a path; write --config-dir {place} --config-name {shown}")
    known = [recipe for folder in folders for recipe in recipe_names(folder)]
    places = " or ".join(map(str, folders if config_dir else ["the packaged recipes"]))
    raise UsageError(f"there is no recipe '{name}' in {places}{hint(name, known)} Recipes: {listed(known, _LISTED)}")


def recipe_names(folder: Path) -> list[str]:
    """The recipes in a folder and below it; of a folder with very many files, those met first."""
    found, looked_at = [], 0
    for place, _, files in os.walk(folder):
        looked_at += 1 + len(files)
        yamls = [Path(place, name).relative_to(folder) for name in files if name.endswith(".yaml")]
        found += [str(path.with_suffix("")) for path in yamls]
        if looked_at > MAX_FOLDER_ENTRIES:
            break
    return sorted(found)


def recipe_comment(folder: Path, name: str) -> str:
    """What a recipe's first lines say about it."""
    lines = (folder / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    head = takewhile(lambda line: line.startswith("#"), lines)
    return " ".join(line.lstrip("# ") for line in head if not line.startswith("# @package"))


def packaged_sections() -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and sections of every packaged recipe, with the recipes it starts from merged in."""
    folder, read = packaged_recipes(), cache(_read_recipe)  # most start from the same few
    for name in recipe_names(folder):
        yield name, recipe_sections(folder, name, read)


def _read_recipe(path: Path) -> dict[str, Any]:
    from omegaconf import OmegaConf

    content: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    return content or {}


def recipe_sections(folder: Path, name: str, read: Callable[[Path], dict[str, Any]] = _read_recipe) -> dict[str, Any]:
    """A recipe's sections with those of its `defaults` under them, references unresolved.

    Args:
        read: gives the content of a yaml file, which stays as it is.
    """
    own = {**read(folder / f"{name}.yaml")}
    parents = [parent for parent in own.pop("defaults", []) if isinstance(parent, str) and parent != "_self_"]
    merged: dict[str, Any] = {}
    inherited = [recipe_sections(folder, _parent_name(name, parent), read) for parent in parents]
    for sections in [*inherited, own]:
        for group, values in sections.items():
            both = isinstance(merged.get(group), dict) and isinstance(values, dict)
            merged[group] = {**merged[group], **values} if both else values
    return merged


def _parent_name(recipe: str, parent: str) -> str:
    """A name in `defaults` is looked for beside the recipe; one that starts with / in the topmost folder."""
    return parent[1:] if parent.startswith("/") else str(Path(recipe).parent / parent)
