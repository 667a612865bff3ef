"""Statistics of the parts of a validation set: by kind of question, by attribute."""

import numpy as np

from ecg_signals.metrics.counts import precision_recall_f1, ratio
from ecg_signals.metrics.summary import summarise_ranking

NO_GROUP = -1  # id of items that belong to no group


def grouped_answers(
    name: str, logits: np.ndarray, target: np.ndarray, ids: np.ndarray, cut: float, average: str | None
) -> dict[str, float]:
    """`<name>_<id>_accuracy`, `_em_accuracy` and so on of every group.

    Args:
        name: first part of the printed names.
        logits: [items, labels].
        target: [items, labels] of 0 and 1, NaN where not counted.
        ids: group of each item, [items], or of each pair, [items, labels]; -1 none.
        cut: a label is predicted when its logit is above it.
        average: how AUROC and AUPRC average over labels; None leaves them out. The pairs of a group are one label.
    """
    out: dict[str, float] = {}
    for group in np.unique(ids[~np.isnan(ids)] if ids.dtype.kind == "f" else ids):
        if group == NO_GROUP:
            continue
        chosen = ids == group
        part = (logits[chosen], target[chosen]) if ids.ndim == 1 else (logits[chosen][:, None], target[chosen][:, None])
        out |= {f"{name}_{int(group)}_{key}": value for key, value in _answers(*part, cut, average).items()}
    return out


def _answers(logits: np.ndarray, target: np.ndarray, cut: float, average: str | None) -> dict[str, float]:
    counted = ~np.isnan(target)
    predicted, positive, negative = logits > cut, target == 1, target == 0
    right = predicted == positive
    asked = counted.any(axis=1)
    tp, fp = np.sum(predicted & positive), np.sum(predicted & negative)
    out = {
        "accuracy": ratio(float(np.sum(right & counted)), float(np.sum(counted))),
        "em_accuracy": ratio(float(np.sum((right | ~counted).all(axis=1) & asked)), float(np.sum(asked))),
        **precision_recall_f1(float(tp), float(fp), float(np.sum(positive) - tp)),
    }
    if average is not None:
        areas = summarise_ranking(logits, target, average)
        out |= {key: areas[key] for key in ("auroc", "auprc")}
    return out
