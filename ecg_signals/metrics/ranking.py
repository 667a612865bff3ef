"""Area under the ROC curve and average precision, exact with ties, per label."""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RankingMetrics:
    """Per-label values; NaN where a label does not define one.

    Attributes:
        auroc: [labels], NaN for a label without positives or without negatives.
        average_precision: [labels], NaN for a label without positives.
        positives: [labels], how many items have the label.
    """

    auroc: np.ndarray
    average_precision: np.ndarray
    positives: np.ndarray


def ranking_metrics(scores: np.ndarray, targets: np.ndarray) -> RankingMetrics:
    """Both areas of every label, from one sort per label.

    Args:
        scores: [items, labels], any monotonic score; logits are better than probabilities, which saturate.
        targets: [items, labels] of 0 and 1, NaN where unknown.
    """
    columns = np.ascontiguousarray(np.asarray(scores).T), np.ascontiguousarray(np.asarray(targets).T)
    values = [_areas(score, target) for score, target in zip(*columns)]
    auroc, precision, positives = np.array(values, dtype=np.float64).reshape(-1, 3).T
    return RankingMetrics(auroc, precision, positives)


def _areas(scores: np.ndarray, targets: np.ndarray) -> tuple[float, float, int]:
    """AUROC, average precision and number of positives of one label; pairs with an unknown target are left out."""
    unknown = np.isnan(targets) if targets.dtype.kind == "f" else np.zeros(targets.shape, dtype=bool)
    if unknown.any():
        scores, targets = scores[~unknown], targets[~unknown]
    positive = targets == 1
    positives = int(np.count_nonzero(positive))
    negatives = positive.size - positives
    if positives == 0 or np.isnan(scores).any():
        return math.nan, math.nan, positives
    order = np.argsort(scores)[::-1]
    ordered = scores[order]
    last = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), ordered.size - 1)  # last item of each distinct score
    hits = np.cumsum(positive[order])[last]  # positives at or above each distinct score
    misses = last + 1 - hits
    precision = float(np.sum(np.diff(hits, prepend=0) * (hits / (last + 1)))) / positives
    if negatives == 0:
        return math.nan, precision, positives
    below = negatives - misses  # negatives strictly below; those of the same score count one half
    tied = np.diff(misses, prepend=0)
    auroc = float(np.sum(np.diff(hits, prepend=0) * (below + 0.5 * tied))) / (positives * negatives)
    return auroc, precision, positives
