"""Precision, recall and F1 from counts of true and false answers."""

import math


def ratio(numerator: float, denominator: float) -> float:
    """numerator / denominator, NaN when the denominator is 0."""
    return numerator / denominator if denominator else math.nan


def precision_recall_f1(tp: float, fp: float, fn: float) -> dict[str, float]:
    """NaN where nothing was predicted (precision), nothing was there (recall), or both are 0 (F1)."""
    precision, recall = ratio(tp, tp + fp), ratio(tp, tp + fn)
    return {"precision": precision, "recall": recall, "f1": ratio(2 * precision * recall, precision + recall)}
