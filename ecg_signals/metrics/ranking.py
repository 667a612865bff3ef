"""Area under the ROC curve, average precision and the largest F1, exact with ties, per label."""

import math
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

COLUMNS = 8  # labels that are copied at a time: all that it takes of memory beside scores and targets


@dataclass(frozen=True)
class RankingMetrics:
    """Per-label values; NaN where a label does not define one.

    Attributes:
        auroc: [labels], NaN for a label without positives or without negatives.
        average_precision: [labels], NaN for a label without positives.
        positives: [labels], how many items have the label.
        max_f1: [labels], the largest F1 over all thresholds, NaN for a label without positives.
        accuracy: [labels], at its threshold; of equal ones the lowest.
        accuracy_above: [labels], the same if the records whose score is the threshold are not predicted.
    """

    auroc: np.ndarray
    average_precision: np.ndarray
    positives: np.ndarray
    max_f1: np.ndarray
    accuracy: np.ndarray
    accuracy_above: np.ndarray


def ranking_metrics(scores: np.ndarray, targets: np.ndarray) -> RankingMetrics:
    """Both areas and the largest F1 of every label, by one sort.

    Args:
        scores: [items, labels], any monotonic score; logits are better than probabilities, which saturate.
        targets: [items, labels] of 0 and 1, NaN where unknown.
    """
    scores, targets, values = np.asarray(scores), np.asarray(targets), []
    for start in range(0, scores.shape[1], COLUMNS):
        block = (np.ascontiguousarray(table[:, start : start + COLUMNS].T) for table in (scores, targets))
        values += [_of_label(score, target) for score, target in zip(*block)]
    return RankingMetrics(*np.array(values, dtype=np.float64).reshape(-1, len(fields(RankingMetrics))).T)


def _of_label(scores: np.ndarray, targets: np.ndarray) -> tuple[float, ...]:
    """The fields of `RankingMetrics` for one label; pairs with an unknown target are left out.

    Values alone are sorted, which is several times as fast as sorting items by them; then each positive's place among
    the negatives is counted, before and behind those of the same score, which count one half.
    """
    positive = np.sort(scores[targets == 1])
    negative = np.sort(scores[targets == 0])
    if not len(positive) or any(np.isnan(part[-1:]).any() for part in (positive, negative)):  # NaN is sorted last
        return math.nan, math.nan, len(positive), math.nan, math.nan, math.nan
    starts = np.flatnonzero(np.append(True, positive[1:] != positive[:-1]))
    first = np.repeat(starts, np.diff(starts, append=len(positive)))  # place of the first positive of the same score
    below, not_above = _count(negative, positive, "left"), _count(negative, positive, "right")
    hits = len(positive) - first  # positives at or above each positive
    answered = hits + len(negative) - below
    precision = float(np.mean(hits / answered))
    won = int(below.sum()) + int(not_above.sum())  # pairs, doubled
    auroc = won / (2 * len(positive) * len(negative)) if len(negative) else math.nan
    f1 = 2 * hits / (answered + len(positive))  # largest where a positive is the threshold
    best = int(f1.argmax())
    above = len(positive) - int(np.searchsorted(positive, positive[best], "right"))
    right = int(hits[best] + below[best]), above + int(not_above[best])
    accuracy, accuracy_above = (count / (len(positive) + len(negative)) for count in right)
    return auroc, precision, len(positive), float(f1[best]), accuracy, accuracy_above


def _count(values: np.ndarray, limits: np.ndarray, side: Literal["left", "right"]) -> np.ndarray:
    """How many sorted `values` lie below each of sorted `limits`; of side "right" also those that equal it."""
    if len(limits) <= len(values):
        return np.searchsorted(values, limits, side)
    places = np.searchsorted(limits, values, "right" if side == "left" else "left")  # of the first limit above a value
    return np.cumsum(np.bincount(places, minlength=len(limits)))[: len(limits)]
