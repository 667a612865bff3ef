"""Recipes as files: the packaged ones and those of a folder of the user's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ecg_signals.absent import absence
from ecg_signals.config import ConfigError, UsageError, nearest


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
        if (folder / f"{name}.yaml").is_file():
            return folder, name
    known = [str(p.relative_to(folder).with_suffix("")) for folder in folders for p in sorted(folder.rglob("*.yaml"))]
    guess, missing = nearest(name, known), absence(name)
    hint = f": {missing}" if missing else f"; did you mean '{guess}'?" if guess else "."
    places = " or ".join(map(str, folders if config_dir else ["the packaged recipes"]))
    raise UsageError(f"there is no recipe '{name}' in {places}{hint} Recipes: {', '.join(known)}")


def check_yaml(path: Path) -> None:
    """Raises: ConfigError with line and column where the file is not yaml."""
    import yaml
    from omegaconf import OmegaConf

    try:
        OmegaConf.load(path)
    except yaml.YAMLError as error:
        where = " ".join(str(error).split())
        raise ConfigError(f"{path} is not valid yaml: {where}. Quote special values, such as data: '???'") from None


def recipe_keys(path: Path) -> set[str]:
    """The top-level keys of one yaml."""
    from omegaconf import OmegaConf

    return set(map(str, OmegaConf.load(path)))


def packaged_sections() -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and sections of every packaged recipe, with the recipes it starts from merged in."""
    folder = packaged_recipes()
    for path in sorted(folder.rglob("*.yaml")):
        name = str(path.relative_to(folder).with_suffix(""))
        yield name, recipe_sections(folder, name)


def recipe_sections(folder: Path, name: str) -> dict[str, Any]:
    """A recipe's sections with those of its `defaults` under them, references unresolved."""
    from omegaconf import OmegaConf

    own: Any = OmegaConf.to_container(OmegaConf.load(folder / f"{name}.yaml"), resolve=False) or {}
    parents = [parent for parent in own.pop("defaults", []) if isinstance(parent, str) and parent != "_self_"]
    merged: dict[str, Any] = {}
    inherited = [recipe_sections(folder, _parent_name(name, parent)) for parent in parents]
    for sections in [*inherited, own]:
        for group, values in sections.items():
            both = isinstance(merged.get(group), dict) and isinstance(values, dict)
            merged[group] = {**merged[group], **values} if both else values
    return merged


def _parent_name(recipe: str, parent: str) -> str:
    """A name in `defaults` is looked for beside the recipe; one that starts with / in the topmost folder."""
    return parent[1:] if parent.startswith("/") else str(Path(recipe).parent / parent)
