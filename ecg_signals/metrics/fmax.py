"""Fmax: the best F1 of records rather than labels, over one threshold for all labels."""

from dataclasses import dataclass

import numpy as np

from ecg_signals.metrics.base import Metric, Scored
from ecg_signals.registry import register_metric

THRESHOLDS = np.linspace(0, 1, 101)
_ROWS = 1 << 16  # records that are counted at a time


@dataclass(frozen=True)
class FmaxCurve:
    """[thresholds] each; a label is predicted from the threshold on.

    Attributes:
        precision: mean over the records of which anything is predicted; NaN where that is none.
        recall: mean over the records with any positive.
        false_alarms: share of the negatives that are predicted, mean over the records with any negative.
        coverage: share of the records of which anything is predicted.
    """

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    false_alarms: np.ndarray
    coverage: np.ndarray

    @property
    def f1(self) -> np.ndarray:
        """Harmonic mean of the two means; NaN where precision is, 0 where both are 0."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / np.where(total == 0, 1, total)


def fmax(targets: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """The largest F1 and the first threshold that gives it; NaN where no record has a positive, or none a prediction.

    targets [records, labels] of 0 and 1, NaN where unknown; scores [records, labels] probabilities.
    Source: Radivojac et al. 2013, Nature Methods 10, 221-227; the thresholds 0, 0.01, ..., 1 are CAFA's.
    """
    curve = fmax_curve(targets, scores)
    if np.isnan(curve.f1).all():
        return np.nan, np.nan
    best = int(np.nanargmax(curve.f1))
    return float(curve.f1[best]), float(curve.thresholds[best])


def fmax_curve(targets: np.ndarray, scores: np.ndarray, thresholds: np.ndarray = THRESHOLDS) -> FmaxCurve:
    """Means over records at every threshold, which rise; other arguments as `fmax`."""
    sums, records = np.zeros((4, len(thresholds))), np.zeros((4, len(thresholds)))
    for start in range(0, len(targets), _ROWS):
        part = slice(start, start + _ROWS)
        levels = np.searchsorted(thresholds, scores[part], side="right")  # how many thresholds each score reaches
        hits, positives = _counts(levels, targets[part] == 1, len(thresholds))
        alarms, negatives = _counts(levels, targets[part] == 0, len(thresholds))
        answered = hits + alarms
        shares = (hits, answered), (hits, positives), (alarms, negatives), (answered > 0, np.ones_like(answered))
        for row, (counted, whole) in enumerate(shares):
            sums[row] += (counted / np.maximum(whole, 1)).sum(axis=0)
            records[row] += (whole > 0).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return FmaxCurve(thresholds, *(sums / records))


def _counts(levels: np.ndarray, chosen: np.ndarray, thresholds: int) -> tuple[np.ndarray, np.ndarray]:
    """[records, thresholds]: how many `chosen` pairs reach each threshold, and how many there are."""
    rows, columns = len(levels), thresholds + 1
    places = (levels + columns * np.arange(rows)[:, None])[chosen]
    held = np.bincount(places, minlength=rows * columns).reshape(rows, columns)
    reached = held[:, ::-1].cumsum(axis=1)[:, ::-1]
    return reached[:, 1:], np.broadcast_to(reached[:, :1], (rows, thresholds))


@register_metric("fmax")
class Fmax(Metric):
    """Best F1 of records over one threshold for all labels, 0 to 1 in steps of 0.01."""

    of_set = True

    def __call__(self, scored: Scored) -> np.ndarray:
        return np.array(fmax(scored.targets, scored.scores)[0])
