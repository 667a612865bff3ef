"""What is printed of a criterion's scores by default: registered metrics in a few numbers."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ecg_signals.metrics.base import Scored, make_metrics, mean_defined, mean_of, measure
from ecg_signals.metrics.logits import CLASSES, LABELS

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
    weights = scored.positives if average == "weighted" else None
    printed = {name: mean_of(values, "skip", weights) for name, values in by_label.items()}
    return {
        **(micro if average == "micro" else printed),
        "auroc_labels": float(np.count_nonzero(~np.isnan(by_label["auroc"]))),
        **{f"{name}_micro": value for name, value in micro.items()},
    }


def means(names: Mapping[str, str], scores: Mapping[str, np.ndarray], kind: str, cut: float = 0.0) -> dict[str, float]:
    """Means over labels of registered metrics.

    Args:
        names: printed name -> metric.
        scores: `logits` [items, labels] and `target`, [items, labels] with NaN, or [items] class numbers with negative
            ones, where unknown.
        kind: what the logits are, see metrics/logits.py.
        cut: a label is predicted when its logit is above it.
    """
    logits, target = scores["logits"], scores["target"]
    if kind == CLASSES:
        logits, target = logits[target >= 0].astype(np.float64), target[target >= 0]
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = shifted / shifted.sum(axis=1, keepdims=True)
        scored = replace(Scored.of(logits, target, kind), scores=probabilities)  # the logits decide what is predicted
    else:
        scored = Scored.of(logits, target, kind, cut)
    values = measure(make_metrics(list(names.values()), kind), scored)
    return {name: mean_defined(values[metric]) for name, metric in names.items()}
