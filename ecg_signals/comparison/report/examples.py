"""What the best model missed: positive records with the lowest scores, negative ones with the highest, on paper."""

import html
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

from ecg_signals.comparison.report.content import Answers, Section
from ecg_signals.comparison.signals import read_stored
from ecg_signals.config import ConfigError
from ecg_signals.evaluation.benchmarks.data import META, DataSet
from ecg_signals.evaluation.report.page import note
from ecg_signals.sheet.layout import layout
from ecg_signals.sheet.style import Style
from ecg_signals.sheet.svg import svg
from ecg_signals.tables import read_table

EACH = 2  # missed records, and false alarms, of a benchmark
EVERY = 0.4  # mm of paper of which the lowest and the highest sample are drawn

Pair = tuple[int, int]  # a record and a label, by their places


def missed(section: Section) -> str:
    """Sheets of the worst of each; "" where every label is constant."""
    answers = section.full[0].one
    sheets = [_sheet(answers, pair) for pair in [*worst(answers, 1, EACH), *worst(answers, 0, EACH)]]
    about = (f"{html.escape(section.full[0].name)}, first seed: the records with a label that it gives the lowest "
             f"probability, and those without one that it gives the highest; a record and a label at most once. No "
             f"amplitude is changed: of every {EVERY:g} mm the lowest and the highest sample are drawn.")  # fmt: skip
    return f"<h3>The worst answers of the best model</h3>{note(about)}{''.join(sheets)}" if sheets else ""


def worst(answers: Answers, truth: int, most: int) -> Iterator[Pair]:
    """Farthest from `truth` first; labels that are constant in the test split are not asked for."""
    both = [(answers.targets == value).any(axis=0) for value in (0, 1)]
    asked = (answers.targets == truth) & both[0] & both[1]
    records, labels = np.nonzero(asked)
    order = np.argsort(answers.scores[asked] * (1 if truth else -1), kind="stable")
    seen_records: set[int] = set()
    seen_labels: set[int] = set()
    for record, label in zip(records[order].tolist(), labels[order].tolist()):
        if len(seen_records) < most and record not in seen_records and label not in seen_labels:
            seen_records.add(record)
            seen_labels.add(label)
            yield record, label


def _sheet(answers: Answers, pair: Pair) -> str:
    record, label = pair
    name, path = answers.labels[label], Path(str(answers.files[record]))
    true = [answers.labels[k] for k in np.flatnonzero(answers.targets[record] == 1)]
    says = "missed" if name in true else "false alarm"
    title = f"{name} {says}, probability {answers.scores[record, label]:.3f}"
    with_it = ", ".join(true) or "none of the labels"
    try:
        drawn = svg(layout(read_stored(path, leads_of(path.parents[1])), Style(every=EVERY), title), inline=True)
    except (ConfigError, OSError, IndexError) as error:
        drawn = note(f"Not drawn: {html.escape(str(error))}")
    about = note(f"Labels of the record: {html.escape(with_it)}. File: <code>{html.escape(str(path))}</code>")
    return f'<div class="card"><b>{html.escape(title)}</b>{about}{drawn}</div>'


@cache
def leads_of(folder: Path) -> list[str]:
    """Of the records below the DEST of an ecg-preprocess."""
    return DataSet(folder, read_table(folder / META, ["save_file"]), folder).leads
