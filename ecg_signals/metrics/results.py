"""Results of one evaluation, with intervals: every label by itself, and their means."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ecg_signals.metrics.bootstrap import intervals, resampled_groups
from ecg_signals.metrics.logits import CLASSES, VALUES
from ecg_signals.metrics.per_label import (
    label_performance,
    mean_defined,
    performance_by_class,
    regression_performance,
)


@dataclass(frozen=True)
class Results:
    """What an evaluation found.

    Attributes:
        labels: names of the columns.
        known, positives: [labels] items whose answer is known, and those among them with the label (values: 0).
        values: metric -> [labels].
        ends: metric -> [2, labels], ends of the 95 % interval; {} without rounds.
        means: metric -> mean over the labels that define it; for classes also `accuracy` over items.
        mean_ends: metric -> [2]; {} without rounds.
    """

    labels: list[str]
    known: np.ndarray
    positives: np.ndarray
    values: dict[str, np.ndarray]
    ends: dict[str, np.ndarray]
    means: dict[str, float]
    mean_ends: dict[str, np.ndarray]

    def rows(self) -> Iterator[dict[str, str | int | float]]:
        """One per label: its name, `known` and `positives`, then every metric with `_low` and `_high`."""
        for number, label in enumerate(self.labels):
            row: dict[str, str | int | float] = {"label": label, "known": int(self.known[number])}
            row["positives"] = int(self.positives[number])
            for metric, values in self.values.items():
                row[metric] = float(values[number])
                if metric in self.ends:
                    row[f"{metric}_low"], row[f"{metric}_high"] = map(float, self.ends[metric][:, number])
            yield row

    def summary(self) -> dict[str, dict[str, float]]:
        """metric -> {"value", "low", "high"} of the means."""
        out: dict[str, dict[str, float]] = {}
        for metric, value in self.means.items():
            out[metric] = {"value": value}
            if metric in self.mean_ends:
                out[metric]["low"], out[metric]["high"] = map(float, self.mean_ends[metric])
        return out


def evaluate(
    scores: np.ndarray,
    targets: np.ndarray,
    labels: Sequence[str],
    kind: str | None,
    *,
    owners: np.ndarray,
    rounds: int = 0,
    seed: int = 0,
) -> Results:
    """Score what a model answered.

    Args:
        scores: [items, labels] probabilities, or the values of a regression.
        targets: [items, labels], NaN where unknown; for classes [items] class numbers, negative where unknown.
        labels: names of the columns.
        kind: what the scores are, see metrics/logits.py.
        owners: [items] whom an item is of (a patient, else a record): drawn together, since their items are alike.
        rounds: of the bootstrap; 0: no intervals.
    """
    if kind == CLASSES:
        kept = targets >= 0
        scores, targets, owners = scores[kept], targets[kept], owners[kept]

    def statistic(chosen: np.ndarray) -> dict[str, np.ndarray | float]:
        by_label, means = _measure(scores[chosen], targets[chosen], kind)
        return {**by_label, **{f"mean {name}": value for name, value in means.items()}}

    values, means = _measure(scores, targets, kind)
    ends = intervals(statistic, resampled_groups(owners, rounds, seed)) if rounds else {}
    one_hot = targets[:, None] == np.arange(scores.shape[1]) if kind == CLASSES else targets == 1
    known = np.full(scores.shape[1], len(targets)) if kind == CLASSES else (~np.isnan(targets)).sum(axis=0)
    return Results(
        labels=list(labels),
        known=known,
        positives=np.zeros_like(known) if kind == VALUES else one_hot.sum(axis=0),
        values=values,
        ends={name: pair for name, pair in ends.items() if not name.startswith("mean ")},
        means=means,
        mean_ends={name.removeprefix("mean "): pair for name, pair in ends.items() if name.startswith("mean ")},
    )


def _measure(
    scores: np.ndarray, targets: np.ndarray, kind: str | None
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Every metric by label, and the means over labels."""
    extra = {}
    if kind == VALUES:
        columns = [regression_performance(score, target) for score, target in zip(scores.T, targets.T)]
        values = {name: np.array([column[name] for column in columns]) for name in columns[0]}
    elif kind == CLASSES:
        values = performance_by_class(scores, targets)
        right = scores.argmax(axis=1) == targets
        extra = {"accuracy": float(right.mean()) if len(right) else float("nan")}
    else:
        values = label_performance(scores, targets)
    return values, {**extra, **{name: mean_defined(column) for name, column in values.items()}}
