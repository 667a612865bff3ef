"""Results of one evaluation, with intervals: every label by itself, and their means."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ecg_signals.metrics.base import Metric, Scored, make_metrics, mean_defined, measure
from ecg_signals.metrics.bootstrap import intervals, resampled_groups, resampled_items
from ecg_signals.metrics.logits import CLASSES, LABELS, VALUES

_ANSWERS = ("f1_score", "recall", "precision", "specificity", "auroc", "auprc")
USUAL = {LABELS: _ANSWERS, CLASSES: ("accuracy", *_ANSWERS), VALUES: ("mse", "mae", "r2")}


@dataclass(frozen=True)
class Results:
    """What an evaluation found.

    Attributes:
        labels: names of the columns.
        known, positives: [labels] items whose answer is known, and those among them with the label (values: 0).
        values: metric -> [labels].
        ends: metric -> [2, labels], ends of the 95 % interval; {} without rounds.
        means: metric -> mean over the labels that define it, or its value of the whole set.
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
    metrics: Sequence[str] | None = None,
    owners: np.ndarray | None,
    rounds: int = 0,
    seed: int = 0,
    zeros: bool = False,
) -> Results:
    """Score what a model answered.

    Args:
        scores: [items, labels] probabilities, or the values of a regression.
        targets: [items, labels], NaN where unknown; for classes [items] class numbers, negative where unknown.
        labels: names of the columns.
        kind: what the scores are, see metrics/logits.py.
        metrics: registered names; None: the usual ones.
        owners: [items] whom an item is of (a patient, else a record): drawn together, since their items are alike.
            None: every item is drawn for itself, each combination of labels as often as it is in the data.
        rounds: of the bootstrap; 0: no intervals.
        zeros: undefined values are 0 and count in means.
    """
    chosen_metrics = make_metrics(USUAL[kind or LABELS] if metrics is None else metrics, kind)
    if kind == CLASSES:
        kept = targets >= 0
        scores, targets, owners = scores[kept], targets[kept], None if owners is None else owners[kept]
    drawn = resampled_items(targets, rounds, seed) if owners is None else resampled_groups(owners, rounds, seed)

    def statistic(chosen: np.ndarray) -> dict[str, np.ndarray | float]:
        by_label, means = _measure(chosen_metrics, Scored.of(scores[chosen], targets[chosen], kind), zeros)
        return {**by_label, **{f"mean {name}": value for name, value in means.items()}}

    values, means = _measure(chosen_metrics, Scored.of(scores, targets, kind), zeros)
    ends = intervals(statistic, drawn) if rounds else {}
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
    metrics: Mapping[str, Metric], scored: Scored, zeros: bool
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Every metric by label, and the means over labels; what is of the whole set stands among the means."""
    found = measure(metrics, scored, zeros=zeros)
    values = {name: value for name, value in found.items() if not metrics[name].of_set}
    means = {name: float(value) if metrics[name].of_set else mean_defined(value) for name, value in found.items()}
    return values, means
