"""The largest F1 over all thresholds of a label, and the accuracy there: what MERL reports beside the AUROC."""

import numpy as np

from ecg_signals.metrics.base import Metric, Scored
from ecg_signals.metrics.ranking import ranking_metrics
from ecg_signals.registry import register_metric


def best_f1(targets: np.ndarray, scores: np.ndarray, published: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Largest F1, and the accuracy at its threshold, [labels] each; NaN for labels without positives.

    Args:
        targets: [records, labels] of 0 and 1, NaN where unknown.
        scores: [records, labels]; the threshold is chosen on them, so that the values are upper bounds.
        published: as in MERL the accuracy does not count the threshold's own records as predicted, which the F1 does.
    """
    found = ranking_metrics(scores, targets)
    return found.max_f1, found.accuracy_above if published else found.accuracy


@register_metric("max_f1")
class MaxF1(Metric):
    """Largest F1 over all thresholds of a label; the best one is chosen on the answers themselves (MERL)."""

    needs = ("positives",)

    def __call__(self, scored: Scored) -> np.ndarray:
        return scored.ranking.max_f1


@register_metric("max_f1_accuracy")
class MaxF1Accuracy(Metric):
    """Accuracy at the threshold of the largest F1."""

    needs = ("positives",)

    def __call__(self, scored: Scored) -> np.ndarray:
        return scored.ranking.accuracy
