"""Performance of every label, or of every class against the others."""

import numpy as np

from ecg_signals.metrics.ranking import ranking_metrics


def label_performance(
    probabilities: np.ndarray, labels: np.ndarray, threshold: float = 0.5, *, zeros: bool = False
) -> dict[str, np.ndarray]:
    """Six values per label.

    Args:
        probabilities: [items, labels], 0 to 1; or logits, with the logit of a threshold.
        labels: [items, labels] of 0 and 1, NaN where unknown.
        threshold: at or below it a label is not predicted.
        zeros: give 0 instead of NaN where a label has no positives or no negatives, as published.
    Returns: metric -> [labels]. Precision is 0 where positives exist and none is predicted.
    """
    return _performance(probabilities > threshold, probabilities, labels, zeros)


def class_performance(probabilities: np.ndarray, classes: np.ndarray, *, zeros: bool = False) -> dict[str, float]:
    """Values over classes: accuracy of all items, and means over classes of the others.

    Args:
        probabilities: [items, classes]; the largest is the prediction.
        classes: [items] class numbers.
    """
    values = performance_by_class(probabilities, classes, zeros=zeros)
    predicted = probabilities.argmax(axis=1)
    means = {name: mean_defined(values[name]) for name in ("auroc", "recall", "specificity", "auprc")}
    return {"accuracy": float((predicted == classes).mean()), **means}


def performance_by_class(
    probabilities: np.ndarray, classes: np.ndarray, *, zeros: bool = False
) -> dict[str, np.ndarray]:
    """As `label_performance`, every class against the others; the largest probability is the prediction."""
    numbers = np.arange(probabilities.shape[1])
    predicted = probabilities.argmax(axis=1)[:, None] == numbers
    return _performance(predicted, probabilities, (classes[:, None] == numbers).astype(np.float64), zeros)


def mean_defined(values: np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN when all are."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def _performance(predicted: np.ndarray, scores: np.ndarray, labels: np.ndarray, zeros: bool) -> dict[str, np.ndarray]:
    positive, negative = labels == 1, labels == 0
    hits, alarms = (predicted & positive).sum(axis=0), (predicted & negative).sum(axis=0)
    positives, negatives = positive.sum(axis=0), negative.sum(axis=0)
    ranking = ranking_metrics(scores, labels)
    with np.errstate(invalid="ignore", divide="ignore"):
        out = {
            "f1_score": np.where(positives > 0, 2 * hits / (hits + alarms + positives), np.nan),
            "recall": hits / positives,
            "precision": np.where(positives > 0, hits / np.maximum(hits + alarms, 1), np.nan),
            "specificity": (negatives - alarms) / negatives,
            "auroc": ranking.auroc,
            "auprc": ranking.average_precision,
        }
    return {name: np.nan_to_num(values, nan=0.0) for name, values in out.items()} if zeros else out


def regression_performance(predictions: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Mean squared and absolute error and explained variance (R squared) over known targets, [items, 1] each."""
    known = ~np.isnan(targets)
    predicted, target = predictions[known].astype(np.float64), targets[known].astype(np.float64)
    if not len(target):
        return dict.fromkeys(("mse", "mae", "r2"), float("nan"))
    error = predicted - target
    spread = np.square(target - target.mean()).sum()
    return {
        "mse": float(np.square(error).mean()),
        "mae": float(np.abs(error).mean()),
        "r2": float(1 - np.square(error).sum() / spread) if spread > 0 else float("nan"),
    }
