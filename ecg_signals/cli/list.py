"""ecg-list: what is registered; one thing's file, options and recipes; the recipes; tab completion."""

import ast
import re
from collections.abc import Iterator
from dataclasses import Field
from typing import Any

from ecg_signals.cli.arguments import Parser, typed
from ecg_signals.cli.completion import candidates, shell_line
from ecg_signals.cli.recipes import (
    find_recipe,
    packaged_recipes,
    packaged_sections,
    recipe_comment,
    recipe_names,
    recipe_sections,
)
from ecg_signals.cli.running import load_plugins, run_command
from ecg_signals.config import (
    MISSING,
    BaseConfig,
    UsageError,
    dotted,
    field_default,
    option_fields,
    range_of,
    unknown_message,
)
from ecg_signals.registry import REGISTRIES, Entry, choose_summary, get_entry
from ecg_signals.sections import REGISTERED_GROUPS

KINDS = (*REGISTRIES, "recipe")
NAMED_BY_RECIPES = (*REGISTERED_GROUPS, "dataset", "transform")


def main() -> None:
    run_command(run)


def parser() -> Parser:
    parser = Parser(
        prog="ecg-list",
        description="Show what is registered. One name: its file, its options with defaults and meaning, and the "
        "packaged recipes that use it.",
        epilog="examples: ecg-list; ecg-list model; ecg-list model wav2vec2_cmsc; ecg-list recipe w2v_cmsc_rlm. "
        "Tab completion of all commands in bash: source <(ecg-list --completion)",
    )
    parser.add_argument("kind", nargs="?", metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("name", nargs="?", metavar="NAME", help="a registered name, or a recipe's")
    parser.add_argument("--user-dir", metavar="PATH", help="folder or module whose registered names are added")
    parser.add_argument("--completion", action="store_true", help="print what a shell reads to complete our commands")
    return parser


def run(argv: list[str]) -> None:
    """Print what was asked for. Raises: UsageError as `listing`."""
    if argv[:1] == ["--complete"]:  # called by the shell, with the line in its environment
        print("\n".join(candidates()))
        return
    arguments = parser().parse_args(argv)
    if arguments.completion:
        print(shell_line())
        return
    load_plugins(arguments.user_dir)
    print(listing(arguments.kind, arguments.name))


def listing(kind: str | None = None, name: str | None = None) -> str:
    """The text of `ecg-list [KIND [NAME]]`. Raises: UsageError naming the nearest kind or name."""
    if kind is None:
        return "\n\n".join([*map(_overview, REGISTRIES), _recipes()])
    if kind not in KINDS:
        raise UsageError(unknown_message(f"kind '{kind}'", kind, KINDS, "Kinds"))
    if kind == "recipe":
        return _recipes() if name is None else _recipe(name)
    return _overview(kind) if name is None else _details(get_entry(kind, name))


def _recipes() -> str:
    """The packaged recipes with the first sentence of each."""
    names = recipe_names(packaged_recipes())
    width = max(map(len, names))
    lines = [f"  {name:<{width}}  {_first_sentence(recipe_comment(packaged_recipes(), name))}" for name in names]
    return "\n".join([f"recipe ({len(names)})", *lines])


def _first_sentence(text: str) -> str:
    return re.split(r"(?<! al)[.]\s", text, maxsplit=1)[0].rstrip(".")


def _recipe(name: str) -> str:
    folder, name = find_recipe(name, None)
    rows = [(group, keys) for group, keys in recipe_sections(folder, name).items() if isinstance(keys, dict)]
    settings = [(f"{group}.{key}", value) for group, keys in rows for key, value in keys.items()]
    command = "ecg-inference" if name == "infer" else "ecg-train"
    return "\n".join(
        [
            f"recipe {name}: {recipe_comment(folder, name)}",
            f"file: {folder / name}.yaml",
            "sets:",
            *(f"  {key}={typed(value)}" for key, value in settings if value != MISSING),
            " ".join(["use:", command, "--config-name", name, *(f"{k}=..." for k, v in settings if v == MISSING)]),
        ]
    )


def _overview(kind: str) -> str:
    """Names of one kind with the first line of their description, without importing our modules."""
    names = REGISTRIES[kind].names()
    described = _descriptions(kind)
    width = max((len(name) for name in names), default=0)
    lines = [f"  {name:<{width}}  {described.get(name) or _loaded_description(kind, name)}".rstrip() for name in names]
    return "\n".join([f"{kind} ({len(names)})", *lines])


def _descriptions(kind: str) -> dict[str, str]:
    """name -> `Entry.summary`, read from our source files."""
    found: dict[str, str] = {}
    for path in sorted(REGISTRIES[kind].folder.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if f"@register_{kind}(" not in text:
            continue
        module = ast.parse(text)
        classes = [node for node in module.body if isinstance(node, ast.ClassDef) and node.decorator_list]
        registered = [node for node in classes if "@register_" in ast.unparse(node)]
        for node in registered:
            summary = choose_summary(ast.get_docstring(node), ast.get_docstring(module), alone=len(registered) == 1)
            found |= dict.fromkeys(_registered_names(node, kind), summary)
    return found


def _registered_names(node: ast.ClassDef, kind: str) -> Iterator[str]:
    for call in node.decorator_list:
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == f"register_{kind}" and call.args:
            yield ast.literal_eval(call.args[0])


def _loaded_description(kind: str, name: str) -> str:
    entry = REGISTRIES[kind].entries.get(name)
    return entry.summary if entry else ""


def _details(entry: Entry) -> str:
    rows = [_option_row(item) for item in option_fields(entry.declared)]
    more = "task.perturbation_mode adds its augmentations' options: `ecg-list transform NAME`"
    recipes = [name for name, sections in packaged_sections() if uses(sections, entry.kind, entry.name)]
    return "\n".join(
        [
            f"{entry.kind} {entry.name}" + (f": {entry.summary}" if entry.summary else ""),
            f"file: {entry.file} ({entry.cls.__name__})",
            "options:" if rows else "options: none",
            *_table(rows),
            *([more] if entry.declared.options_of[0] == "transform" else []),
            *(["how signals are read, task.KEY: `ecg-list dataset NAME`"] if entry.kind == "task" else []),
            *([f"recipes: {', '.join(recipes) or 'none'}"] if entry.kind in NAMED_BY_RECIPES else []),
        ]
    )


def _option_row(item: Field) -> tuple[str, str, str]:
    """Key, default and meaning of one option."""
    choices, follows = item.metadata.get("choices"), item.metadata.get("follows")
    notes = ["one of " + ", ".join(map(str, choices))] if choices else []
    notes += [*filter(None, [range_of(item.metadata), follows and f"follows {follows}"])]
    default = field_default(item)
    shown = "null" if default is None else str(default.to_dict() if isinstance(default, BaseConfig) else default)
    key = dotted(item.metadata.get("section", ""), item.name)
    return key, shown, item.metadata.get("help", "") + (f" ({'; '.join(notes)})" if notes else "")


def _table(rows: list[tuple[str, str, str]]) -> list[str]:
    widths = [min(max((len(row[column]) for row in rows), default=0), 40) for column in (0, 1)]
    return [f"  {key:<{widths[0]}}  {default:<{widths[1]}}  {meaning}" for key, default, meaning in rows]


def uses(sections: dict[str, Any], kind: str, name: str) -> bool:
    """Whether a recipe with these sections builds the registered thing `name`, named or by default."""
    from ecg_signals.composition import DEFAULT_NAMES, dataset_name

    if not sections.get("model"):
        return False
    if kind == "dataset":
        return dataset_name({**sections, "criterion": sections.get("criterion") or {}}) == name
    if kind == "transform":
        named = [(sections.get(group) or {}).get("perturbation_mode") for group in ("task", "dataset")]
        return any(isinstance(found, list) and name in found for found in named)
    section = sections.get(kind) or {"_name": DEFAULT_NAMES.get(kind)}
    return (section if isinstance(section, str) else section.get("_name")) == name


if __name__ == "__main__":
    main()
