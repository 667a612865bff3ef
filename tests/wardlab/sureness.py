"""How far scores are from one half."""
import numpy as np

from ecg_signals.metrics.base import Metric
from ecg_signals.registry import register_metric


@register_metric("sureness")
class Sureness(Metric):
    best = 0.5

    def __call__(self, scored):
        return np.abs(scored.scores - 0.5).mean(axis=0)
