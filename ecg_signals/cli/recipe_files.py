"""A recipe's yaml files, read within stated bounds before hydra composes them; what is wrong is said with its line."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ecg_signals.composition import KNOWN_EXTRAS
from ecg_signals.config import ConfigError, UsageError, option_fields, unknown_message
from ecg_signals.limits import (
    MAX_RECIPE_BYTES,
    MAX_RECIPE_COPIES,
    MAX_RECIPE_FILES,
    MAX_RECIPE_NESTING,
    MAX_RECIPE_VALUES,
    regular_file,
)
from ecg_signals.sections import REGISTERED_GROUPS, Config

NOT_OPTIONS = (*KNOWN_EXTRAS, "defaults")  # top-level keys that name no section


def check_recipe(path: Path, folders: list[Path]) -> dict[str, str]:
    """Read a recipe and every yaml that its `defaults` draw in.

    Args:
        folders: where those lie, the recipe's own folder first.
    Returns: dotted key -> "file, line N" of everything the recipe itself sets.
    Raises: ConfigError naming file and line.
    """
    root = _read(path)
    _check_sections(path, root)
    roots = [root, *_check_parents(path, root, folders)]
    if math.prod(map(_copies, roots)) > MAX_RECIPE_COPIES:
        raise ConfigError(f"{path} names references such as ${{task.data}} so often that they multiply; write them out")
    return {key: f"{path}, line {line}" for key, line in _lines(root)}


def _read(path: Path) -> Any:
    """The root of one yaml's nodes, None for an empty one. Raises: ConfigError."""
    import yaml

    size = regular_file(path).stat().st_size
    if size > MAX_RECIPE_BYTES:
        raise ConfigError(f"{path} has {size:,} bytes, a recipe at most {MAX_RECIPE_BYTES:,}; is it one?")
    try:
        text = path.read_bytes().decode("utf-8-sig")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        _check_size(path, root)
        yaml.load(text, Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no text in UTF-8 (byte {error.start}); give a yaml file") from None
    except yaml.YAMLError as error:
        where = " ".join(str(error).split())
        raise ConfigError(f"{path} is not valid yaml: {where}. Quote special values, such as data: '???'") from None
    except RecursionError:
        raise ConfigError(f"{path} nests deeper than a recipe needs ({MAX_RECIPE_NESTING} levels)") from None
    except (ValueError, TypeError, OverflowError) as error:  # a date or a number that does not exist
        raise ConfigError(f"{path} holds a value that yaml cannot read ({error}); quote it") from None
    if root is not None and not isinstance(root, yaml.MappingNode) and root.value != "":
        raise ConfigError(f"{path}, line 1: {_kind(root)}; a recipe is sections with keys, such as common: {{seed: 1}}")
    return root if isinstance(root, yaml.MappingNode) else None


def _check_size(path: Path, root: Any) -> None:
    """Values are counted each time an alias names them. Raises: ConfigError."""
    rest, count = [(root, 1)] if root is not None else [], 0
    while rest:
        node, depth = rest.pop()
        count += 1
        if count > MAX_RECIPE_VALUES or depth > MAX_RECIPE_NESTING:
            what = f"{MAX_RECIPE_VALUES:,} values" if count > MAX_RECIPE_VALUES else f"{MAX_RECIPE_NESTING} levels"
            raise ConfigError(f"{path}, line {node.start_mark.line + 1}: more than {what}, aliases written out")
        rest += [(child, depth + 1) for child in _children(node)]


def _children(node: Any) -> list[Any]:
    if isinstance(node.value, str):
        return []
    return [part for item in node.value for part in (item if isinstance(item, tuple) else (item,))]


def _pairs(node: Any) -> list[tuple[str, Any]]:
    """Keys and values of a mapping; none of anything else."""
    import yaml

    if not isinstance(node, yaml.MappingNode):
        return []
    return [(key.value, value) for key, value in node.value if isinstance(key.value, str)]


def _copies(node: Any, below: str = "") -> int:
    """Into how many copies of one text the references of a yaml can grow: those of one option multiply by others'."""
    pairs = _pairs(node)
    if pairs and below.count(".") < 2:
        return math.prod(_copies(value, f"{below}.{key}") for key, value in pairs)
    rest, found = [node] if node is not None else [], 0
    while rest:
        node = rest.pop()
        found += node.value.count("${") if isinstance(node.value, str) else 0
        rest += _children(node)
    return max(found, 1)


def _lines(node: Any, prefix: str = "") -> Iterator[tuple[str, int]]:
    for key, value in _pairs(node):
        yield prefix + key, value.start_mark.line + 1
        yield from _lines(value, f"{prefix}{key}.")


def _check_sections(path: Path, root: Any) -> None:
    """Raises: UsageError for a section that does not exist, ConfigError for one that holds no keys."""
    import yaml

    known = [item.name for item in option_fields(Config)]
    for key, value in _pairs(root):
        where = f"{path}, line {value.start_mark.line + 1}"
        if key not in (*known, *NOT_OPTIONS):
            raise UsageError(f"{where}: " + unknown_message(f"section '{key}'", key, known, "A recipe has"))
        wanted: tuple[type, ...] = (yaml.MappingNode,)
        if key == "defaults":
            wanted = (yaml.SequenceNode,)
        empty = isinstance(value, yaml.ScalarNode) and (value.tag.endswith(":null") or key in REGISTERED_GROUPS)
        if key in (*known, "defaults", "hydra") and not isinstance(value, wanted) and not empty:
            expected = "a list of recipes" if key == "defaults" else "keys and values"
            raise ConfigError(f"{where}: '{key}' holds {_kind(value)}; expected {expected}")


def _kind(node: Any) -> str:
    return f"'{node.value[:40]}'" if isinstance(node.value, str) else f"a {node.id.replace('sequence', 'list')}"


def _check_parents(path: Path, root: Any, folders: list[Path]) -> list[Any]:
    """The roots of what `defaults` draw in.

    Raises: ConfigError for a yaml that cannot be read, recipes that start from each other, and too many of them.
    """
    rest: list[tuple[Path, Any, tuple[Path, ...]]] = [(path, root, (path,))]
    roots: list[Any] = []
    while rest:
        path, root, line = rest.pop()
        for name in _parents(root):
            found = _locate(name, path, folders)
            if found is None:
                continue  # hydra's own, or one that is not there, which hydra says
            if found in line or len(roots) >= MAX_RECIPE_FILES:
                reason = "start from each other" if found in line else f"are more than {MAX_RECIPE_FILES}"
                where = path if found in line else line[0]  # too many are drawn in by all of them together
                raise ConfigError(f"{where}: the recipes that `defaults` draw in {reason} ({name}); take one out")
            roots.append(_read(found))
            rest.append((found, roots[-1], (*line, found)))
    return roots


def _parents(root: Any) -> Iterator[str]:
    """Names in a `defaults` list: NAME, or GROUP/NAME for {GROUP: NAME}."""
    for key, value in _pairs(root):
        for item in value.value if key == "defaults" else ():
            if isinstance(item.value, str):
                yield item.value.partition("@")[0]
            for group, chosen in _pairs(item):
                words = group.partition("@")[0].split()
                names = [chosen.value] if isinstance(chosen.value, str) else [part.value for part in chosen.value]
                yield from (f"{words[-1]}/{name}" for name in names if words and isinstance(name, str))


def _locate(name: str, path: Path, folders: list[Path]) -> Path | None:
    """The file of a name in `defaults`: beside the yaml that names it, or in a topmost folder with a leading /."""
    places = folders if name.startswith("/") else [path.parent, *folders]
    for folder in places:
        candidate = folder / f"{name.lstrip('/').removesuffix('.yaml')}.yaml"
        if name != "_self_" and candidate.exists():
            return candidate
    return None
