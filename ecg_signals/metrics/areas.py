"""Areas under curves of ranks."""

import numpy as np

from ecg_signals.metrics.base import Metric, Scored
from ecg_signals.registry import register_metric


@register_metric("auroc")
class Auroc(Metric):
    """Area under the ROC curve, exact with ties."""

    needs = ("positives", "negatives")

    def __call__(self, scored: Scored) -> np.ndarray:
        return scored.ranking.auroc


@register_metric("auprc")
class Auprc(Metric):
    """Average precision."""

    needs = ("positives",)

    def __call__(self, scored: Scored) -> np.ndarray:
        return scored.ranking.average_precision
