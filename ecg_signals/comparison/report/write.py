"""report.html: everything that ecg-eval found in a folder, in one file that needs no other."""

import json
from collections.abc import Sequence
from pathlib import Path

from ecg_signals.comparison.protocols import PROTOCOLS
from ecg_signals.comparison.report.content import Content, Section, count, read_content
from ecg_signals.comparison.report.examples import missed
from ecg_signals.comparison.report.label_curves import curves
from ecg_signals.comparison.report.labels import label_tables
from ecg_signals.comparison.report.leaderboard import best_against_others, glance, leaderboard
from ecg_signals.comparison.report.progress import label_efficiency, learning_curves
from ecg_signals.comparison.report.published import published
from ecg_signals.comparison.report.runs import failures, what_was_run
from ecg_signals.comparison.report.values import scatter, value_tables
from ecg_signals.comparison.tables import JSON
from ecg_signals.evaluation.report.page import note, page
from ecg_signals.metrics.logits import VALUES
from ecg_signals.tables import write_text

REPORT = "report.html"


def write_report(out: Path, rounds: int = 1000) -> Path:
    """The report of the results below `out`, of which `collect` has made tables.

    Args:
        rounds: of the bootstrap that compares models; 0: none are compared.
    Returns: its file.
    """
    content = read_content(out, json.loads((out / JSON).read_text()))
    sections = [("At a glance", glance(content.sections) if content.sections else note("No run has a result yet."))]
    sections += [(section.title, body(section, rounds)) for section in content.sections]
    without = failures(content)
    sections += [("Runs without a result", without)] if without else []
    sections += [("What was run", what_was_run(content))] if content.sections else []
    write_text(out / REPORT, page("ecg-eval", lead(content), tiles(content), sections))
    return out / REPORT


def body(section: Section, rounds: int) -> str:
    """All of one benchmark."""
    leading = section.parts[0]
    if not section.full:
        return leaderboard(leading)
    head = [leaderboard(leading), best_against_others(leading, rounds), published(section), label_efficiency(section)]
    of_columns, of_records = [], []
    for part in section.parts:
        of_values = part.kind == VALUES
        of_columns += [value_tables(part), scatter(part)] if of_values else [label_tables(part), curves(part)]
        of_records += [] if of_values else [missed(part)]
    return "".join([*head, *of_columns, learning_curves(section), *of_records])


def lead(content: Content) -> str:
    """What the page is about."""
    entries = [entry for section in content.sections for entry in section.entries]
    of = " ".join(
        f"{name}: {', '.join(dict.fromkeys(str(entry.row[key]) for entry in entries))}."
        for name, key in (("Models", "model"), ("Protocols", "protocol"))
    )
    used = {entry.row["protocol"] for entry in entries}
    watched = [name for protocol, one in PROTOCOLS.items() if protocol in used for name in one.watched]
    best = f" The best test values of all validations, which flatter: {', '.join(watched)}." if watched else ""
    return f"Models compared on benchmarks. {of} No state is selected on test records.{best}" if entries else ""


def tiles(content: Content) -> Sequence[tuple[str, str]]:
    done = [result for section in content.sections for entry in section.entries for _, result in entry.results]
    trained = [result for result in done if result["benchmark"] == result["test_on"]]
    without = f"{len(content.failed)} failed, {len(content.missing)} without a result yet"
    return [
        ("benchmarks", f"{len(content.sections)}"),
        ("models", f"{len({result['model'] for result in done})}"),
        ("protocols", f"{len({result['protocol'] for result in done})}"),
        (f"finished; {without}", count(len(trained), "run")),
    ]
