"""Areas under curves of ranks: of every label, and as one number."""

import math

import numpy as np

from ecg_signals.metrics.base import Metric, Scored, fill, mean_of
from ecg_signals.metrics.ranking import ranking_metrics
from ecg_signals.registry import register_metric


@register_metric("auroc")
class Auroc(Metric):
    """Area under the ROC curve, exact with ties."""

    needs = ("positives", "negatives")
    chance = 0.5

    def __call__(self, scored: Scored) -> np.ndarray:
        return scored.ranking.auroc


@register_metric("auprc")
class Auprc(Metric):
    """Average precision."""

    needs = ("positives",)

    def __call__(self, scored: Scored) -> np.ndarray:
        return scored.ranking.average_precision


def mean_auroc(targets: np.ndarray, scores: np.ndarray, average: str = "macro", absent: str = "skip") -> float:
    """Area under the ROC curve, over labels.

    Args:
        targets, scores: [records, labels]; NaN targets are left out.
        average: "macro", "weighted" by positives, or "micro", all pairs as one label.
        absent: labels without positives or without negatives are left out ("skip"), count 0.5 ("half", as CAFA's code
            and its copies do), count 0 ("zero"), or make the mean NaN ("nan", as scikit-learn does from 1.6 on).
    """
    return _mean("auroc", Auroc.chance, targets, scores, average, absent)


def mean_auprc(targets: np.ndarray, scores: np.ndarray, average: str = "macro", absent: str = "skip") -> float:
    """Average precision, over labels; as `mean_auroc`, but only labels without positives are absent.

    Of absent="half" they are left out, as a guess has no precision there; "zero" is scikit-learn's way.
    """
    return _mean("average_precision", math.nan, targets, scores, average, absent)


def _mean(area: str, chance: float, targets: np.ndarray, scores: np.ndarray, average: str, absent: str) -> float:
    if average == "micro":
        targets, scores = (np.ravel(table)[:, None] for table in (targets, scores))
    found = ranking_metrics(scores, targets)
    values = fill(getattr(found, area), absent, chance)
    return mean_of(values, absent, found.positives if average == "weighted" else None)
