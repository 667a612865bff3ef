"""Write docs/config_reference.md from the dataclasses: every section and every registered thing with its options.

usage: python tools/config_reference.py [--check]
"""

import sys
from collections.abc import Container
from dataclasses import fields
from pathlib import Path
from typing import Any

from ecg_signals.cli.arguments import typed
from ecg_signals.config import BaseConfig, dotted, field_default, plain, range_of
from ecg_signals.interop.fairseq_signals.ignored import IGNORED
from ecg_signals.registry import REGISTRIES, get_entry, register_dataset
from ecg_signals.sections import REGISTERED_GROUPS, Config, DatasetConfig

FILE = Path(__file__).parents[1] / "docs" / "config_reference.md"
NONE = "No options."
HEAD = """# Config reference

Made by `python tools/config_reference.py` from the dataclasses; a test keeps it up to date. Set a key on the command
line (`dataset.batch_size=64`) or in a recipe. Keys marked *ours* are not fairseq-signals'; keys of its recipes that do
nothing here stand [at the end](#accepted-without-effect). `ecg-list KIND NAME` prints one table. What differs from
fairseq-signals by default: [deviations.md](deviations.md).
"""
NAMED = {  # where the names of a kind stand that is no section
    "metric": "Named by `common_eval.metrics`; criteria print some after each validation in any case.",
    "reader": "Found by `read_record` from a file's suffix and first bytes.",
    "source": "Read by `ecg-preprocess NAME SOURCE DEST key=value ...`; see `ecg-preprocess NAME --help`.",
    "step": "Named by the input contract that is stored with a model (`model.signal.steps`), with its options.",
    "layout": "Recognised by a checkpoint's content; `ecg-convert --to NAME` writes one.",
    "dataset": "Chosen by `dataset._name`. A key shown as `task.KEY` may be typed `dataset.KEY` as well.",
    "task": "Chosen by `task._name`. How signals are read are options of the [dataset](#dataset-ecg_file), `task.KEY`.",
    "transform": "Named by `task.perturbation_mode`. The options are typed `task.KEY` (or `dataset.KEY`).",
}


def reference() -> str:
    """The whole page."""
    parts = [HEAD]
    for item in fields(Config):
        if item.name not in ("_name", *REGISTERED_GROUPS):
            parts.append(f"## {item.name}\n\n{table(type(field_default(item)))}")
    for kind, registry in REGISTRIES.items():
        parts.append(f"## {kind}\n\n{NAMED.get(kind) or f'Chosen by `{kind}._name`.'}")
        parts += [f"### {kind} {name}\n\n{described(kind, name)}" for name in registry.names()]
    return "\n\n".join([*parts, ignored()]) + "\n"


def ignored() -> str:
    """The keys that are accepted and do nothing."""
    rows = [
        f"| {section}.{key} | `{typed(one.usual)}` | {one.meaning} |"
        for section, table in IGNORED.items()
        for key, one in table.items()
    ]
    lead = (
        "So that fairseq-signals' recipes, command lines and checkpoints are taken as they are; a value other than the "
        "usual one gives\na warning."
    )
    return "\n".join(["## Accepted without effect", "", lead, "", "| key | usual | meaning |", "|---|---|---|", *rows])


def described(kind: str, name: str) -> str:
    entry = get_entry(kind, name)
    if kind != "dataset":
        return f"{entry.summary}\n\n{table(entry.declared)}".strip()
    homes = {DatasetConfig: "[dataset](#dataset)"} | {
        other.declared: f"[{other.name}](#dataset-{other.name})"
        for other in register_dataset.all()
        if other is not entry and other.cls.__module__ == other.declared.__module__
    }
    home = next(cls for cls in entry.declared.__mro__ if cls in homes)
    own = table(entry.declared, home.__dataclass_fields__)
    lead = f"The keys of {homes[home]}." if own == NONE else f"Besides the keys of {homes[home]}:\n\n{own}"
    return f"{entry.summary}\n\n{lead}"


def table(dataclass: type[BaseConfig], inherited: Container[str] = ("_name",)) -> str:
    """Key, default and meaning of every option that is not inherited."""
    rows = [row(item) for item in fields(dataclass) if item.name not in inherited]
    return "\n".join(["| key | default | meaning |", "|---|---|---|", *rows]) if rows else NONE


def row(item: Any) -> str:
    default, key = plain(field_default(item)), dotted(item.metadata.get("section", ""), item.name)
    notes = ["*ours*"] if item.metadata.get("ours") else []
    if item.metadata.get("choices"):
        notes.append("one of " + ", ".join(f"`{choice}`" for choice in item.metadata["choices"]))
    if range_of(item.metadata):
        notes.append(range_of(item.metadata))
    if item.metadata.get("follows"):
        notes.append(f"default: `{item.metadata['follows']}`")
    meaning = "; ".join([item.metadata.get("help", ""), *notes]).replace("|", "\\|")
    return f"| {key} | `{typed(default)}` | {meaning} |".replace("| ;", "|")


def main() -> None:
    text = reference()
    if "--check" in sys.argv[1:]:
        raise SystemExit(0 if FILE.is_file() and FILE.read_text(encoding="utf-8") == text else 1)
    FILE.write_text(text, encoding="utf-8")
    print(f"{FILE}: {len(text.splitlines())} lines")


if __name__ == "__main__":
    main()
