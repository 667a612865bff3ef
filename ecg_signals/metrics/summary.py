"""What criteria print of the areas."""

import numpy as np

from ecg_signals.metrics.base import Scored, average_of, make_metrics, measure
from ecg_signals.metrics.logits import LABELS

AVERAGES = ("macro", "micro", "weighted")


def summarise_ranking(scores: np.ndarray, targets: np.ndarray, average: str) -> dict[str, float]:
    """`auroc`, `auprc` by `average`, the number of labels behind `auroc`, and the micro values.

    Args:
        scores: [items, labels], any monotonic score; logits are better than probabilities, which saturate.
        targets: [items, labels] of 0 and 1, NaN where unknown.
    """
    metrics, scored = make_metrics(("auroc", "auprc"), LABELS), Scored.of(scores, targets, LABELS)
    by_label = measure(metrics, scored)
    micro = {name: float(value[0]) for name, value in measure(metrics, scored.pooled()).items()}
    printed = {name: average_of(values, scored, average) for name, values in by_label.items()}
    return {
        **(micro if average == "micro" else printed),
        "auroc_labels": float(np.count_nonzero(~np.isnan(by_label["auroc"]))),
        **{f"{name}_micro": value for name, value in micro.items()},
    }
