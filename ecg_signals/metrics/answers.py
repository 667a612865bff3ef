"""Shares of right answers."""

import numpy as np

from ecg_signals.metrics.base import Metric, Scored
from ecg_signals.metrics.logits import CLASSES, LABELS
from ecg_signals.registry import register_metric


@register_metric("f1_score")
class F1Score(Metric):
    """Harmonic mean of recall and precision."""

    needs = ("positives",)

    def __call__(self, scored: Scored) -> np.ndarray:
        f1 = 2 * scored.hits / (scored.hits + scored.alarms + scored.positives)
        return np.where(scored.positives > 0, f1, np.nan)


@register_metric("recall")
class Recall(Metric):
    """Share of the positives that are predicted: sensitivity."""

    needs = ("positives",)

    def __call__(self, scored: Scored) -> np.ndarray:
        return scored.hits / scored.positives


@register_metric("precision")
class Precision(Metric):
    """Share of what is predicted that is right; 0 where positives exist and none is predicted."""

    needs = ("positives",)

    def __call__(self, scored: Scored) -> np.ndarray:
        return np.where(scored.positives > 0, scored.hits / np.maximum(scored.hits + scored.alarms, 1), np.nan)


@register_metric("specificity")
class Specificity(Metric):
    """Share of the negatives that are not predicted."""

    needs = ("negatives",)

    def __call__(self, scored: Scored) -> np.ndarray:
        return (scored.negatives - scored.alarms) / scored.negatives


@register_metric("balanced_accuracy")
class BalancedAccuracy(Metric):
    """Mean of recall and specificity; over classes take the mean of `recall`."""

    kinds = (LABELS,)
    needs = ("positives", "negatives")
    chance = 0.5

    def __call__(self, scored: Scored) -> np.ndarray:
        specificity = (scored.negatives - scored.alarms) / scored.negatives
        return (scored.hits / scored.positives + specificity) / 2


@register_metric("exact_match")
class ExactMatch(Metric):
    """Share of the items all of whose known labels are answered rightly."""

    kinds = (LABELS,)
    of_set = True

    def __call__(self, scored: Scored) -> np.ndarray:
        known = ~np.isnan(scored.targets)
        right = (scored.predicted == (scored.targets == 1)) | ~known
        asked = known.any(axis=1)
        return np.array(right[asked].all(axis=1).mean() if asked.any() else np.nan)


@register_metric("accuracy")
class Accuracy(Metric):
    """Share of the items whose class is predicted."""

    kinds = (CLASSES,)
    of_set = True

    def __call__(self, scored: Scored) -> np.ndarray:
        right = (scored.predicted & (scored.targets == 1)).any(axis=1)
        return np.array(right.mean() if len(right) else np.nan)
