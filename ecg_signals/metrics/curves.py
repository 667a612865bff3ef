"""Curves of one label: ROC, precision over recall, calibration."""

import numpy as np

from ecg_signals.metrics.calibration import BINS, calibration_bins

POINTS = 200  # of a curve that is to be drawn


def counts_at_thresholds(targets: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every distinct score, falling, and how many positives and negatives are at or above it.

    Args:
        targets: [records] of 0 and 1, NaN where unknown.
        scores: [records].
    """
    scores, targets = np.asarray(scores), np.asarray(targets)
    known = np.flatnonzero((targets == 0) | (targets == 1))
    order = known[np.argsort(-scores[known], kind="stable")]
    ordered = scores[order]
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], len(ordered) > 0))
    hits = np.cumsum(targets[order] == 1)[last]
    return ordered[last], hits, last + 1 - hits


def roc_curve(
    targets: np.ndarray, scores: np.ndarray, points: int | None = POINTS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Share of negatives and of positives that are predicted, and the score from which on they are; from (0, 0) on.

    Args:
        targets: [records] of 0 and 1, NaN where unknown; a curve needs both, and is NaN otherwise.
        scores: [records].
        points: at most so many, spread evenly over the curve's length; None: one per distinct score.
    """
    thresholds, hits, alarms = counts_at_thresholds(targets, scores)
    thresholds, hits, alarms = np.append(np.inf, thresholds), np.append(0, hits), np.append(0, alarms)
    with np.errstate(invalid="ignore"):
        found, wrong = hits / hits[-1], alarms / alarms[-1]
    kept = _spread(wrong, found, points)
    return wrong[kept], found[kept], thresholds[kept]


def pr_curve(
    targets: np.ndarray, scores: np.ndarray, points: int | None = POINTS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Recall (rising), precision, and the score from which on records are predicted; arguments as `roc_curve`."""
    thresholds, hits, alarms = counts_at_thresholds(targets, scores)
    with np.errstate(invalid="ignore"):
        recall = hits / hits[-1:]
    precision = hits / (hits + alarms)
    kept = _spread(recall, precision, points)
    return recall[kept], precision[kept], thresholds[kept]


def calibration_curve(
    targets: np.ndarray, scores: np.ndarray, bins: int = BINS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean probability, share of positives and number of records of every bin that holds any.

    targets [records] of 0 and 1, NaN where unknown; scores [records] probabilities.
    """
    count, expected, positive = calibration_bins(targets, scores, bins)
    held = count > 0
    return expected[held] / count[held], positive[held] / count[held], count[held].astype(np.int64)


def _spread(x: np.ndarray, y: np.ndarray, points: int | None) -> np.ndarray:
    """Which points to keep: the first, the last, and those in between that split the way along the curve evenly."""
    if points is None or len(x) <= points:
        return np.arange(len(x))
    way = np.append(0.0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y))))
    if not np.isfinite(way[-1]):  # undefined all along
        return np.array([0, len(x) - 1])
    return np.unique(np.searchsorted(way, np.linspace(0, way[-1], points)))
