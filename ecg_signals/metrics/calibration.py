"""Whether probabilities are what they say."""

import numpy as np

from ecg_signals.metrics.base import Metric, Scored
from ecg_signals.registry import register_metric

BINS = 15  # of equal width, over 0 to 1


def calibration_bins(targets: np.ndarray, scores: np.ndarray, bins: int = BINS) -> tuple[np.ndarray, ...]:
    """Records by the bin of their probability: [k / bins, (k + 1) / bins), the last one with 1.

    Args:
        targets: [records] of 0 and 1, NaN where unknown.
        scores: [records] probabilities.
    Returns: [bins] each: how many there are; the sum of their probabilities; how many of them are positive.
    Raises: ValueError for scores that are no probabilities.
    """
    known = ~np.isnan(np.asarray(targets, dtype=np.float64))
    chosen, positive = np.asarray(scores, dtype=np.float64)[known], np.asarray(targets)[known] == 1
    if not ((chosen >= 0) & (chosen <= 1)).all():
        raise ValueError(f"calibration needs probabilities, 0 to 1; found {chosen.min()} to {chosen.max()}")
    place = np.minimum((chosen * bins).astype(np.int64), bins - 1)
    return tuple(np.bincount(place, weights, bins) for weights in (None, chosen, positive))


def expected_calibration_error(targets: np.ndarray, scores: np.ndarray, bins: int = BINS) -> np.ndarray:
    """[labels]: distances of mean probability and share of positives, over bins of equal width, weighted by records.

    targets, scores: [records, labels], NaN targets are left out; a label without known targets is NaN.
    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, arXiv:1706.04599, for each label by itself.
    """
    errors = []
    for target, score in zip(np.asarray(targets).T, np.asarray(scores).T):
        count, expected, positive = calibration_bins(target, score, bins)
        errors.append(np.abs(expected - positive).sum() / count.sum() if count.any() else np.nan)
    return np.array(errors)


def brier_score(targets: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """[labels]: mean squared distance of probability and answer; targets, scores [records, labels], NaN left out."""
    known = ~np.isnan(targets)
    squares = np.where(known, np.square(scores - np.nan_to_num(targets)), 0.0)
    count = known.sum(axis=0)
    return np.where(count > 0, squares.sum(axis=0) / np.maximum(count, 1), np.nan)


@register_metric("ece")
class ExpectedCalibrationError(Metric):
    """Distance of probability and share of positives over 15 bins of equal width (expected calibration error)."""

    higher_is_better, best = False, 0.0

    def __call__(self, scored: Scored) -> np.ndarray:
        return expected_calibration_error(scored.targets, scored.scores)


@register_metric("brier")
class BrierScore(Metric):
    """Mean squared distance of probability and answer, per label."""

    higher_is_better, best = False, 0.0

    def __call__(self, scored: Scored) -> np.ndarray:
        return brier_score(scored.targets, scored.scores)
