"""Results of one evaluation, with intervals: every label by itself, and their means; and two models compared."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ecg_signals.config import ConfigError, listed
from ecg_signals.metrics.base import Metric, Scored, fill, make_metrics, mean_of, measure
from ecg_signals.metrics.bootstrap import (
    Difference,
    ends_of,
    paired_difference,
    resampled_groups,
    resampled_items,
    resampled_values,
)
from ecg_signals.metrics.logits import CLASSES, LABELS, VALUES, has_values, values_behind

_ANSWERS = ("f1_score", "recall", "precision", "specificity", "auroc", "auprc")
USUAL = {LABELS: _ANSWERS, CLASSES: ("accuracy", *_ANSWERS), VALUES: ("mse", "mae", "r2")}
_MEAN = "mean "  # before the names of means, beside those of labels


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
        lost: metric -> [labels] rounds in which a label has no value, which its interval leaves out.
        mean_lost: metric -> rounds in which the mean has none.
        undefined: metric -> labels that define no value, for want of positives, negatives or known answers.
    """

    labels: list[str]
    known: np.ndarray
    positives: np.ndarray
    values: dict[str, np.ndarray]
    ends: dict[str, np.ndarray]
    means: dict[str, float]
    mean_ends: dict[str, np.ndarray]
    lost: dict[str, np.ndarray]
    mean_lost: dict[str, int]
    undefined: dict[str, list[str]]

    def rows(self) -> Iterator[dict[str, str | int | float]]:
        """One per label: its name, `known` and `positives`, then every metric with `_low` and `_high`, and with
        `_undefined_rounds` where any label has some."""
        for number, label in enumerate(self.labels):
            row: dict[str, str | int | float] = {"label": label, "known": int(self.known[number])}
            row["positives"] = int(self.positives[number])
            for metric, values in self.values.items():
                row[metric] = float(values[number])
                if metric in self.ends:
                    row[f"{metric}_low"], row[f"{metric}_high"] = map(float, self.ends[metric][:, number])
                    if self.lost[metric].any():
                        row[f"{metric}_undefined_rounds"] = int(self.lost[metric][number])
            yield row

    def summary(self) -> dict[str, dict[str, float]]:
        """metric -> {"value", "low", "high", "undefined_rounds"} of the means."""
        out: dict[str, dict[str, float]] = {}
        for metric, value in self.means.items():
            out[metric] = {"value": value}
            if metric in self.mean_ends:
                out[metric]["low"], out[metric]["high"] = map(float, self.mean_ends[metric])
                out[metric]["undefined_rounds"] = self.mean_lost[metric]
        return out


Metrics = Sequence[str] | Mapping[str, Metric]


def evaluate(
    scores: np.ndarray,
    targets: np.ndarray,
    labels: Sequence[str],
    kind: str | None,
    *,
    metrics: Metrics | None = None,
    owners: np.ndarray | None,
    rounds: int = 0,
    seed: int = 0,
    absent: str = "skip",
    predicted: np.ndarray | None = None,
) -> Results:
    """Score what a model answered.

    Args:
        scores: [items, labels] probabilities, or the values of a regression.
        targets: [items, labels], NaN where unknown; for classes [items] class numbers, negative where unknown.
        labels: names of the columns.
        kind: what the scores are, see metrics/logits.py.
        metrics: registered names, or name -> metric; None: the usual ones.
        owners: [items] whom an item is of (a patient, else a record): drawn together, since their items are alike.
            None: every item is drawn for itself, each combination of labels as often as it is in the data.
        rounds: of the bootstrap; 0: no intervals.
        absent: what a label without a value counts in means, see `Metric` and metrics/base.py: "skip", "half", "zero",
            "nan".
        predicted: bool [items, labels], such as by thresholds of each label; None: above 0.5, of classes the largest.
    Raises: ConfigError for a score that is no number, naming its label.
    """
    answers = _Answers(scores, targets, labels, kind, metrics, absent, predicted)
    raw, means = answers.measured(None)
    by_label, of_means = answers.resampled(owners, rounds, seed)
    known = np.full(len(labels), len(answers.targets)) if kind == CLASSES else (~np.isnan(targets)).sum(axis=0)
    positives = answers.scored(None).positives if kind != VALUES else np.zeros_like(known)
    positives[len(labels) - values_behind(kind) :] = 0
    return Results(
        labels=list(labels),
        known=known,
        positives=positives,
        values={name: answers.filled(name, value) for name, value in raw.items()},
        ends={name: ends_of(drawn) for name, drawn in by_label.items()},
        means=means,
        mean_ends={name: ends_of(drawn) for name, drawn in of_means.items()},
        lost={name: np.isnan(drawn).sum(axis=0) for name, drawn in by_label.items()},
        mean_lost={name: int(np.isnan(drawn).sum()) for name, drawn in of_means.items()},
        undefined={
            name: [labels[at] for at in range(len(labels))[answers.metrics[name].scored_columns] if np.isnan(value[at])]
            for name, value in raw.items()
        },
    )


def compare(
    scores: tuple[np.ndarray, np.ndarray],
    targets: np.ndarray,
    labels: Sequence[str],
    kind: str | None,
    *,
    metrics: Metrics | None = None,
    owners: np.ndarray | None,
    rounds: int = 1000,
    seed: int = 0,
    absent: str = "skip",
    predicted: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
) -> dict[str, Difference]:
    """The first model's means less the second's on the same items, by the paired bootstrap; see `evaluate`."""
    first, second = (
        _Answers(each, targets, labels, kind, metrics, absent, chosen) for each, chosen in zip(scores, predicted)
    )

    one, other = (resampled_values(each.means, first.draws(owners, rounds, seed)) for each in (first, second))
    none, others = np.empty(0), second.means(None)
    return {
        name: paired_difference((value, others[name]), (one.get(name, none), other.get(name, none)))
        for name, value in first.means(None).items()
    }


class _Answers:
    """What one model answered to the items of a set; arguments as `evaluate`."""

    def __init__(
        self, scores: np.ndarray, targets: np.ndarray, labels: Sequence[str], kind: str | None,
        metrics: Metrics | None, absent: str, predicted: np.ndarray | None,
    ) -> None:  # fmt: skip
        usual = (*USUAL[LABELS], *USUAL[VALUES]) if values_behind(kind) else USUAL[kind or LABELS]
        chosen = usual if metrics is None else metrics
        self.metrics = dict(chosen) if isinstance(chosen, Mapping) else make_metrics(chosen, kind)
        self.kind, self.absent = kind, absent
        self.kept: slice | np.ndarray = targets >= 0 if kind == CLASSES else slice(None)
        self.scores, self.targets = scores[self.kept], targets[self.kept]
        self.predicted = None if predicted is None else predicted[self.kept]
        self._check(labels)

    def _check(self, labels: Sequence[str]) -> None:
        if not self.scores.size or not np.isnan(self.scores.min()):  # no table of answers to the question is made
            return
        known = np.ones((len(self.targets), 1), dtype=bool) if self.kind == CLASSES else ~np.isnan(self.targets)
        counts = (np.isnan(self.scores) & known).sum(axis=0)
        if counts.any():
            named = [labels[column] for column in np.flatnonzero(counts).tolist()]
            raise ConfigError(
                f"the model answers NaN to {int(counts.max())} of {len(known)} items for {listed(named)}; look for "
                f"NaN in its weights (a diverged training) and in the signals"
            )

    def draws(self, owners: np.ndarray | None, rounds: int, seed: int) -> Iterable[np.ndarray]:
        """Indices of the items of every round. The values of a regression form no combinations."""
        if owners is None and not has_values(self.kind):
            return resampled_items(self.targets, rounds, seed)
        alone = np.arange(len(self.targets))
        return resampled_groups(alone if owners is None else owners[self.kept], rounds, seed)

    def scored(self, chosen: np.ndarray | None) -> Scored:
        """Of the items `chosen`; None: of all."""
        rows: slice | np.ndarray = slice(None) if chosen is None else chosen
        found = Scored.of(self.scores[rows], self.targets[rows], self.kind)
        return found if self.predicted is None else replace(found, predicted=self.predicted[rows])

    def measured(self, chosen: np.ndarray | None) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        """Every metric by label, NaN where undefined, and the means; what is of the whole set stands among these."""
        found = measure(self.metrics, self.scored(chosen))
        values = {name: value for name, value in found.items() if not self.metrics[name].of_set}
        return values, {name: mean_of(self.filled(name, value), self.absent) for name, value in found.items()}

    def filled(self, name: str, values: np.ndarray) -> np.ndarray:
        metric = self.metrics[name]
        if metric.of_set:
            return fill(values, self.absent, metric.chance)
        found = values.copy()
        found[metric.scored_columns] = fill(values[metric.scored_columns], self.absent, metric.chance)
        return found

    def means(self, chosen: np.ndarray | None) -> dict[str, float]:
        return self.measured(chosen)[1]

    def resampled(
        self, owners: np.ndarray | None, rounds: int, seed: int
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Values of every label [rounds, labels], and means [rounds]; {} without rounds."""
        drawn = resampled_values(self._both, self.draws(owners, rounds, seed)) if rounds else {}
        means = {name.removeprefix(_MEAN): values for name, values in drawn.items() if name.startswith(_MEAN)}
        return {name: values for name, values in drawn.items() if not name.startswith(_MEAN)}, means

    def _both(self, chosen: np.ndarray) -> dict[str, np.ndarray | float]:
        values, means = self.measured(chosen)
        by_label = {name: self.filled(name, value) for name, value in values.items()}
        return {**by_label, **{_MEAN + name: value for name, value in means.items()}}
