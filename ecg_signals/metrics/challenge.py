"""F and G of the Challenges of 2018 and 2020: missed positives weigh `beta`, a record's labels share its weight."""

import numpy as np

from ecg_signals.metrics.base import Metric, Scored
from ecg_signals.metrics.curves import roc_curve
from ecg_signals.registry import register_metric

BETA = 2.0
CUTS = np.linspace(0, 1, 100)


def beta_measures(
    targets: np.ndarray, predicted: np.ndarray, beta: float = BETA, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """F = (1 + beta^2) TP / ((1 + beta^2) TP + FP + beta^2 FN) and G = TP / (TP + FP + beta FN), [labels] each.

    Args:
        targets: [records, labels] of 0 and 1, NaN where unknown.
        predicted: bool [records, labels].
        weights: [records]; None: 1 / number of a record's labels, and 1 for one without labels (as published it weighs
            infinitely, and brings every label to 0 that is predicted of it).
    Returns: NaN for labels without positives; the published values are means over labels.
    """
    positive, negative = targets == 1, targets == 0
    weights = 1 / np.maximum(positive.sum(axis=1), 1) if weights is None else weights
    hits, alarms, missed = (
        weights @ chosen for chosen in (positive & predicted, negative & predicted, positive & ~predicted)
    )
    defined = positive.any(axis=0)
    square = beta * beta
    of_f, of_g = (1 + square) * hits + alarms + square * missed, hits + alarms + beta * missed
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(defined, (1 + square) * hits / of_f, np.nan), np.where(defined, hits / of_g, np.nan)


def g_beta_thresholds(targets: np.ndarray, scores: np.ndarray, beta: float = BETA) -> np.ndarray:
    """[labels]: the first of 100 thresholds from 0 to 1 that gives the best G, records unweighted.

    Args:
        targets, scores: [records, labels] of the records that the model was trained on, as published, or validated on.
    """
    ones = np.ones(len(targets))
    found = np.array([beta_measures(targets, scores > cut, beta, ones)[1] for cut in CUTS])  # [cuts, labels]
    return CUTS[np.nan_to_num(found, nan=0.0).argmax(axis=0)]


def youden_thresholds(targets: np.ndarray, scores: np.ndarray, published: bool = False) -> np.ndarray:
    """[labels]: above it recall less false alarms is best (Youden's J); infinite where a label is not both.

    Args:
        published: the largest score with the best J itself, which is not above it, so that `predict` misses it; else
            the number just below that score.
    """
    columns = (roc_curve(*column, points=None) for column in zip(np.asarray(targets).T, np.asarray(scores).T))
    found = np.array([cuts[np.nan_to_num(recall - alarms).argmax()] for alarms, recall, cuts in columns])
    return found if published else np.where(np.isinf(found), found, np.nextafter(found, -np.inf))


def predict(scores: np.ndarray, thresholds: np.ndarray | float, fallback: bool = True) -> np.ndarray:
    """bool [records, labels]: scores above the thresholds [labels]; with `fallback` the largest where none is."""
    predicted = scores > thresholds
    if fallback and len(scores):
        empty = ~predicted.any(axis=1)
        predicted[empty, scores[empty].argmax(axis=1)] = True
    return predicted


@register_metric("f2")
class F2(Metric):
    """F measure that counts a missed positive fourfold, records weighted by 1 / number of labels (ICBEB 2018)."""

    needs = ("positives",)

    def __call__(self, scored: Scored) -> np.ndarray:
        return beta_measures(scored.targets, scored.predicted)[0]


@register_metric("g2")
class G2(Metric):
    """Jaccard measure that counts a missed positive twice, records weighted by 1 / number of labels (ICBEB 2018)."""

    needs = ("positives",)

    def __call__(self, scored: Scored) -> np.ndarray:
        return beta_measures(scored.targets, scored.predicted)[1]
