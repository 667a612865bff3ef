"""The best of a benchmark against the others: differences on the same resampled patients."""

from collections.abc import Iterator, Sequence

import numpy as np

from ecg_signals.comparison.report.content import Answers, Entry, Section
from ecg_signals.metrics.bootstrap import Difference
from ecg_signals.metrics.logits import LABELS, VALUES
from ecg_signals.metrics.results import compare

MOST = 8  # others that the best is compared with
WORK = 5e8  # records x labels x rounds that are scored for all of them, some 30 s
FEWEST = 100  # rounds, whatever the work


def rounds_for(section: Section, rounds: int) -> int:
    """As many as asked for, or fewer where the benchmark is large."""
    one = section.entries[0].one.scores.size * 2 * max(len(entry.results) for entry in section.full)
    pairs = max(1, min(MOST, len(section.full) - 1))
    return min(rounds, max(FEWEST, int(WORK / (one * pairs))))


def differences(section: Section, rounds: int) -> Iterator[tuple[Entry, Difference | None]]:
    """The others, and how much the best one's mean over seeds lies above theirs; None where nothing can be compared."""
    best, *others = section.full
    for other in others[:MOST]:
        yield other, difference(best, other, section, rounds)


def difference(first: Entry, second: Entry, section: Section, rounds: int) -> Difference | None:
    """Of the means over the seeds that both have, on the records that both answer.

    Every seed's labels are columns of one table: the mean over them is the mean over seeds.
    """
    pairs = [(first.answers[seed], second.answers[seed]) for seed in first.answers if seed in second.answers]
    if not pairs or any(one.labels != pairs[0][0].labels for pair in pairs for one in pair):
        return None
    shared = set.intersection(*(set(one.ids.tolist()) for pair in pairs for one in pair))
    rows = [tuple(_rows(one, shared) for one in pair) for pair in pairs]
    scores = [_columns([pair[side].scores[row[side]] for pair, row in zip(pairs, rows)]) for side in (0, 1)]
    targets = _columns([pair[0].targets[row[0]] for pair, row in zip(pairs, rows)])
    return compare(
        (scores[0], scores[1]), targets, [str(column) for column in range(targets.shape[1])],
        VALUES if section.kind == VALUES else LABELS, metrics=[section.lead],
        owners=pairs[0][0].owners[rows[0][0]], rounds=rounds,
    )[section.lead]  # fmt: skip


def _rows(answers: Answers, shared: set[str]) -> np.ndarray:
    """Those of shared records, in the order of their names."""
    order = np.argsort(answers.ids)
    return order[np.isin(answers.ids[order], list(shared))]


def _columns(tables: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(tables, axis=1)
