"""What a metric is, and what it is given."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ecg_signals.config import UsageError
from ecg_signals.metrics.logits import CLASSES, LABELS
from ecg_signals.metrics.ranking import RankingMetrics, ranking_metrics
from ecg_signals.registry import register_metric


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
        of_set: it gives one value of the whole set instead of one per label.
    """

    kinds: ClassVar[tuple[str, ...]] = (LABELS, CLASSES)
    higher_is_better: ClassVar[bool] = True
    best: ClassVar[float] = 1.0
    needs: ClassVar[tuple[str, ...]] = ()
    of_set: ClassVar[bool] = False

    def __init__(self, cfg: Any) -> None:
        self.cfg = cfg

    @abstractmethod
    def __call__(self, scored: Scored) -> np.ndarray:
        """[labels], NaN where undefined, never an error; [] where `of_set`. Depends on no order of items."""


def make_metrics(names: Sequence[str], kind: str | None) -> dict[str, Metric]:
    """Registered metrics by name. Raises: UsageError for an unknown one, and for one that scores another kind."""
    found = {}
    for name in names:
        entry = register_metric.get(name)
        if (kind or LABELS) not in entry.cls.kinds:
            scores = " and ".join(entry.cls.kinds)
            raise UsageError(f"the metric '{name}' scores {scores}, but the model gives {kind}; leave it out")
        found[name] = entry.cls(entry.dataclass())
    return found


def measure(metrics: Mapping[str, Metric], scored: Scored, *, zeros: bool = False) -> dict[str, np.ndarray]:
    """name -> value; `zeros`: 0 instead of NaN, as published."""
    with np.errstate(invalid="ignore", divide="ignore"):
        values = {name: metric(scored) for name, metric in metrics.items()}
    return {name: np.nan_to_num(value, nan=0.0) for name, value in values.items()} if zeros else values


def mean_defined(values: np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN when all are."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def average_of(values: np.ndarray, scored: Scored, average: str) -> float:
    """The `macro` mean of the defined values [labels], or `weighted` by positives."""
    defined = ~np.isnan(values)
    if average == "macro" or not defined.any():
        return mean_defined(values)
    return float(np.average(values[defined], weights=scored.positives[defined]))
