"""What a metric is, and what it is given."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ecg_signals.config import UsageError, unknown_message
from ecg_signals.metrics.logits import CLASSES, LABELS, VALUES, values_behind
from ecg_signals.metrics.ranking import RankingMetrics, ranking_metrics
from ecg_signals.registry import register_metric
from ecg_signals.sections import ABSENT


@dataclass(frozen=True)
class Scored:
    """What a model answered to a set, beside what is true; what several metrics need is computed once.

    Attributes:
        scores: [items, labels] probabilities or, where metrics of ranks are asked, logits; values of a regression.
        targets: [items, labels] of 0 and 1, or values; NaN where unknown.
        predicted: bool [items, labels].
    """

    scores: np.ndarray
    targets: np.ndarray
    predicted: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray, targets: np.ndarray, kind: str | None, threshold: float = 0.5) -> "Scored":
        """
        Args:
            targets: [items, labels]; for classes [items] class numbers, all known.
            kind: what the scores are, see metrics/logits.py; None: labels.
            threshold: at or below it a label is not predicted; of classes the largest score is.
        """
        if kind != CLASSES:
            return cls(scores, targets, scores > threshold)
        numbers = np.arange(scores.shape[1])
        predicted = scores.argmax(axis=1)[:, None] == numbers
        return cls(scores, (targets[:, None] == numbers).astype(np.float64), predicted)

    def pooled(self) -> "Scored":
        """All (item, label) pairs as one label."""
        return Scored(*(np.ravel(values)[:, None] for values in (self.scores, self.targets, self.predicted)))

    @cached_property
    def positives(self) -> np.ndarray:
        """[labels] items that have the label."""
        return (self.targets == 1).sum(axis=0)

    @cached_property
    def negatives(self) -> np.ndarray:
        """[labels] items that are known not to have it."""
        return (self.targets == 0).sum(axis=0)

    @cached_property
    def hits(self) -> np.ndarray:
        """[labels] positives that are predicted."""
        return (self.predicted & (self.targets == 1)).sum(axis=0)

    @cached_property
    def alarms(self) -> np.ndarray:
        """[labels] negatives that are predicted."""
        return (self.predicted & (self.targets == 0)).sum(axis=0)

    @cached_property
    def ranking(self) -> RankingMetrics:
        return ranking_metrics(self.scores, self.targets)


class Metric(ABC):
    """Extend it, write `__call__`, and name it with `@register_metric("name")`; `common_eval.metrics` lists names.

    Class attributes:
        kinds: what it can score, of metrics/logits.py.
        higher_is_better: False for errors.
        best: its value for a model without fault.
        needs: "positives", "negatives" or both: without them a label's value is NaN, and means leave it out.
        chance: its value for a blind guess, which a label without a value counts as by absent="half"; NaN: it has none.
        of_set: it gives one value of the whole set instead of one per label.
        scored_columns: its values of others are NaN and say nothing.
    """

    kinds: ClassVar[tuple[str, ...]] = (LABELS, CLASSES)
    higher_is_better: ClassVar[bool] = True
    best: ClassVar[float] = 1.0
    needs: ClassVar[tuple[str, ...]] = ()
    chance: ClassVar[float] = float("nan")
    of_set: ClassVar[bool] = False
    scored_columns: slice = slice(None)

    def __init__(self, cfg: Any) -> None:
        self.cfg = cfg

    @abstractmethod
    def __call__(self, scored: Scored) -> np.ndarray:
        """[labels], NaN where undefined, never an error; [] where `of_set`. Depends on no order of items."""


class OfColumns(Metric):
    """Another metric, of some of the columns."""

    def __init__(self, metric: Metric, columns: slice) -> None:
        super().__init__(metric.cfg)
        told = ("kinds", "higher_is_better", "best", "needs", "chance", "of_set")
        self.__dict__ |= {name: getattr(metric, name) for name in told}
        self.metric, self.scored_columns = metric, columns

    def __call__(self, scored: Scored) -> np.ndarray:
        tables = (scored.scores, scored.targets, scored.predicted)
        found = self.metric(Scored(*(table[:, self.scored_columns] for table in tables)))
        if self.of_set:
            return found
        every = np.full(scored.scores.shape[1], math.nan)
        every[self.scored_columns] = found
        return every


def make_metrics(names: Sequence[str], kind: str | None) -> dict[str, Metric]:
    """Registered metrics by name; where values stand behind labels, each of the columns that it can score.

    Raises: UsageError for an unknown one, and for one that scores another kind.
    """
    count = values_behind(kind)
    parts = {LABELS: slice(None, -count), VALUES: slice(-count, None)} if count else {kind or LABELS: slice(None)}
    found: dict[str, Metric] = {}
    for name in names:
        entry = register_metric.get(name)
        scored = [columns for part, columns in parts.items() if part in entry.cls.kinds]
        if not scored:
            scores = " and ".join(entry.cls.kinds)
            raise UsageError(f"the metric '{name}' scores {scores}, but the model gives {kind}; leave it out")
        metric = entry.cls(entry.dataclass())
        found[name] = OfColumns(metric, scored[0]) if count else metric
    return found


def measure(metrics: Mapping[str, Metric], scored: Scored) -> dict[str, np.ndarray]:
    """name -> value, NaN where undefined."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return {name: metric(scored) for name, metric in metrics.items()}


def fill(values: np.ndarray, absent: str, chance: float = math.nan) -> np.ndarray:
    """`values` with what counts in place of NaN: of "zero" 0, of "half" the value of a blind guess, else NaN."""
    if absent not in ABSENT:
        raise UsageError(unknown_message(f"way '{absent}' to count absent labels", absent, ABSENT, "there are"))
    return np.where(np.isnan(values), {"zero": 0.0, "half": chance}.get(absent, math.nan), values)


def mean_of(values: np.ndarray, absent: str, weights: np.ndarray | None = None) -> float:
    """Mean of values [labels] that `fill` returned, of those that are defined; of absent="nan" NaN unless all are.

    Args:
        weights: [labels]; None: every label counts alike; 0 throughout: NaN.
    """
    defined = ~np.isnan(values)
    if not defined.any() or (absent == "nan" and not defined.all()):
        return math.nan
    if weights is None:
        return float(np.average(values[defined]))
    return float(np.average(values[defined], weights=weights[defined])) if weights[defined].any() else math.nan


def mean_defined(values: np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN when all are."""
    return mean_of(values, "skip")
