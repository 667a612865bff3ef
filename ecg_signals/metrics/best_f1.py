"""The largest F1 over all thresholds of a label, and the accuracy there: what MERL reports beside the AUROC."""

import numpy as np

from ecg_signals.metrics.base import Metric, Scored
from ecg_signals.metrics.curves import counts_at_thresholds
from ecg_signals.registry import register_metric


def best_f1(targets: np.ndarray, scores: np.ndarray, published: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Largest F1, and the accuracy at its threshold, [labels] each; NaN for labels without positives.

    Args:
        targets: [records, labels] of 0 and 1, NaN where unknown.
        scores: [records, labels]; the threshold is chosen on them, so that the values are upper bounds.
        published: as in MERL the accuracy does not count the threshold's own records as predicted, which the F1 does.
    """
    columns = zip(np.asarray(targets).T, np.asarray(scores).T)
    f1, accuracy = np.array([_of_label(*column, published) for column in columns]).reshape(-1, 2).T
    return f1, accuracy


def _of_label(target: np.ndarray, score: np.ndarray, published: bool) -> tuple[float, float]:
    _, hits, alarms = counts_at_thresholds(target, score)
    if not len(hits) or not hits[-1]:
        return np.nan, np.nan
    f1 = 2 * hits / (hits + alarms + hits[-1])
    best = len(f1) - 1 - int(f1[::-1].argmax())  # of equal ones the lowest threshold, as published
    gain = np.append(0, hits - alarms)[best if published else best + 1]
    return float(f1[best]), float((gain + alarms[-1]) / (hits[-1] + alarms[-1]))


@register_metric("max_f1")
class MaxF1(Metric):
    """Largest F1 over all thresholds of a label; the best one is chosen on the answers themselves (MERL)."""

    needs = ("positives",)

    def __call__(self, scored: Scored) -> np.ndarray:
        return best_f1(scored.targets, scored.scores)[0]


@register_metric("max_f1_accuracy")
class MaxF1Accuracy(Metric):
    """Accuracy at the threshold of the largest F1."""

    needs = ("positives",)

    def __call__(self, scored: Scored) -> np.ndarray:
        return best_f1(scored.targets, scored.scores)[1]
