"""What was run, with which versions and settings, and what was not."""

import html
import json
from collections.abc import Iterator, Mapping
from typing import Any

from ecg_signals.comparison.report.content import Content, Entry, Section, number
from ecg_signals.evaluation.report.page import note, table

MOST = 60  # rows whose settings are printed


def failures(content: Content) -> str:
    """Runs without a result, with the reason where there is one; "" where all are there."""
    rows = [("", (f"<code>{html.escape(name)}</code>", f'<div class="text">{html.escape(error)}</div>'))
            for name, error in content.failed.items()]  # fmt: skip
    rows += [
        ("", (f"<code>{html.escape(name)}</code>", "no result yet: it was stopped, or not begun"))
        for name in content.missing
    ]
    about = "The numbers above are without them. The same command again makes what is missing."
    return f'<div class="card">{table(("run", "why there is no result"), rows)}{note(about)}</div>' if rows else ""


def what_was_run(content: Content) -> str:
    """Versions, every run, and all settings in parts that open."""
    every = "".join(f"<details><summary>Runs of {html.escape(section.title)}</summary>{_runs(section)}</details>"
                    for section in content.sections)  # fmt: skip
    entries = [
        entry for section in content.sections if section.benchmark == section.test_on for entry in section.entries
    ]
    settings = "".join(map(_settings, entries[:MOST]))
    left = (
        f" The first {MOST} of {len(entries)}; those of the others lie in settings.json of their folders."
        if len(entries) > MOST
        else ""
    )
    about = note(f"Of the first seed; others differ in <code>recipe.common.seed</code>.{left}")
    return f"{_versions(content)}{every}<h3>Settings in full</h3>{about}{settings}"


def _versions(content: Content) -> str:
    """Every set of versions that results were made with."""
    counts: dict[str, int] = {}
    for section in content.sections:
        for entry in section.entries:
            for _, result in entry.results:
                told = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
                counts[told] = counts.get(told, 0) + 1
    lines = "".join(f"<li>{html.escape(told)} ({count} results)</li>" for told, count in counts.items())
    mixed = "Results of one table were made with different versions." if len(counts) > 1 else ""
    return f'<div class="card"><b>Versions</b><ul>{lines}</ul>{note(mixed) if mixed else ""}</div>'


def _runs(section: Section) -> str:
    head = ("model", "protocol", "training data", "seed#", "train / valid / test records#", f"{section.lead_name}#",
            "selected by", "at update#", "seconds#")  # fmt: skip
    rows = []
    for entry in section.entries:
        for _, result in entry.results:
            counts, chosen = result["counts"], result["selection"]
            by = chosen["metric"] + ("" if chosen["value"] is None else f" {number(chosen['value'])}")
            rows.append(("", (
                *(html.escape(result[key]) for key in ("model", "protocol", "fraction")), str(result["seed"]),
                " / ".join(f"{counts[split]:,}" for split in ("train", "valid", "test")),
                number(result["metrics"].get(section.lead), 4), html.escape(by),
                "–" if chosen["update"] is None else f"{chosen['update']:,}", f"{result['seconds']:,.0f}",
            )))  # fmt: skip
    return table(head, rows)


def _settings(entry: Entry) -> str:
    row = entry.row
    lines = "\n".join(
        f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in flat(entry.first["settings"])
    )
    title = f"{row['benchmark']}, {entry.name}, training data {row['fraction']}"
    return f"<details><summary>{html.escape(title)}</summary><pre>{html.escape(lines)}</pre></details>"


def flat(tree: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values; an empty mapping is a value."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{where}{key}.")
        else:
            yield f"{where}{key}", value
