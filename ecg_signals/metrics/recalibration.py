"""Fitting probabilities to what is true of validation records: slope and offsets, thresholds, bands.

Platt 1999, Probabilistic Outputs for Support Vector Machines, for the slope and the offsets with its smoothed targets;
Oron and Flournoy 2017, Centered Isotonic Regression, for the curves of labels with very many positives; Guo et
al. 2017, On Calibration of Modern Neural Networks, arXiv:1706.04599, for the temperature of models that choose a class.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.special import expit, logit, softmax

from ecg_signals.config import ConfigError
from ecg_signals.metrics.calibrated import POINTS, TEMPERATURE, follow, wilson
from ecg_signals.metrics.calibration import expected_calibration_error

SHRINK = 20  # positives that a label needs for an offset of its own, which then counts half
CURVED = 500  # positives that a label needs for a curve of its own
LEAST = 10  # positives, and negatives, that a threshold needs
SIMILAR = 50  # records at least behind the share of answers of similar probability that were right
GRID = (0.002, 0.005, 0.01, 0.02, *(number / 20 for number in range(1, 21)))  # upper ends of similar probabilities
FOLDS = 5  # of patients, for the error of records that the fit has not seen
SLOPES = 0.01, 100.0  # of the shared slope; a model that knows nothing must not turn its ranks around


def fit(logits: np.ndarray, targets: np.ndarray, method: str = "affine") -> dict[str, Any]:
    """`method`, `a`, `b` and `curves` of a Calibration.

    One slope and one offset are shared by all labels; a label with SHRINK positives gets an offset of its own, which is
    shrunk towards the shared one by n / (n + SHRINK).

    Args:
        logits: [records, labels], of pos_weight taken back and windows joined.
        targets: [records, labels] of 0 and 1, NaN where unknown.
        method: "isotonic" also bends the labels with CURVED positives; "temperature" is for classes, of which every
            record has one: the slope alone, 1 / temperature, which leaves the most probable class what it is.
    Raises: ConfigError when nothing is known, or all that is known is the same.
    """
    if method == TEMPERATURE:
        count = logits.shape[1]
        return {"method": method, "a": _slope_of_classes(logits, targets), "b": [0.0] * count, "curves": [None] * count}
    known, positive = ~np.isnan(targets), targets == 1
    if not positive.any() or not (known & ~positive).any():
        raise ConfigError("calibration needs records that have a label and others that lack one; found only one kind")
    slope, offset = _shared(logits[known], positive[known])
    offsets, curves = [], []
    for label in range(logits.shape[1]):
        own, has = logits[known[:, label], label], positive[known[:, label], label]
        count = int(has.sum())
        shift = 0.0
        if min(count, len(has) - count) >= SHRINK:
            shift = _offset(slope * own + offset, has) * count / (count + SHRINK)
        offsets.append(offset + shift)
        curved = method == "isotonic" and min(count, len(has) - count) >= CURVED
        curves.append(_curve(slope * own + offsets[-1], has) if curved else None)
    return {"method": method, "a": slope, "b": offsets, "curves": curves}


def applied(found: dict[str, Any], logits: np.ndarray) -> np.ndarray:
    """[records, labels] probabilities by what `fit` gave."""
    values = found["a"] * logits + np.array(found["b"])
    if found["method"] == TEMPERATURE:
        return softmax(values, axis=1)
    for label, curve in enumerate(found["curves"]):
        if curve is not None:
            values[:, label] = follow(curve, values[:, label])
    return expit(values)


def unseen(logits: np.ndarray, targets: np.ndarray, owners: np.ndarray, method: str) -> np.ndarray:
    """[records, labels] probabilities of records by fits on other patients; `owners` [records]: whose they are."""
    answers = np.full(logits.shape, np.nan)
    for held in folds(owners):
        answers[held] = applied(fit(logits[~held], targets[~held], method), logits[held])
    return answers


def folds(owners: np.ndarray) -> Iterator[np.ndarray]:
    """Bool [records] of every fold: those of a patient are in one."""
    people, person = np.unique(owners, return_inverse=True)
    if len(people) < 2:
        raise ConfigError("calibration needs records of two patients at least")
    fold = np.random.default_rng(0).permutation(len(people)) % FOLDS
    yield from (held for number in range(FOLDS) if (held := fold[person] == number).any())


def pooled_error(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Expected calibration error of all (record, label) pairs together."""
    return float(expected_calibration_error(targets.reshape(-1, 1), probabilities.reshape(-1, 1))[0])


def top_error(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Expected calibration error of the most probable class, as Guo et al. have it, of [records, classes]."""
    known = ~np.isnan(targets).any(axis=1)
    first = probabilities[known].argmax(axis=1)[:, None]
    return pooled_error(*(np.take_along_axis(values[known], first, axis=1) for values in (targets, probabilities)))


def thresholds(targets: np.ndarray, probabilities: np.ndarray) -> list[dict[str, Any] | None]:
    """POINTS of every label, from [records, labels]; None for labels that fewer than LEAST records have, or lack."""
    return [_points(*_known(*column)) for column in zip(targets.T, probabilities.T)]


def bands(targets: np.ndarray, probabilities: np.ndarray) -> dict[str, Any] | None:
    """Answers of similar probability: up to which, how many there are, and how many were right; None: too few records.

    Answers for all labels count together, since one slope holds for them. Neighbours on GRID are joined from the top
    until SIMILAR records stand behind each band.
    """
    found: list[tuple[float, np.ndarray]] = []
    cell = np.searchsorted(GRID, np.minimum(probabilities, 1.0))
    chosen = np.zeros(targets.shape, dtype=bool)
    top = GRID[-1]
    for number in reversed(range(len(GRID))):
        chosen |= (cell == number) & ~np.isnan(targets)
        if chosen.any(axis=1).sum() >= SIMILAR:
            found.append((top, chosen))
            chosen, top = np.zeros_like(chosen), GRID[number - 1]
    if not found:
        return None
    found[-1] = found[-1][0], found[-1][1] | chosen  # what is left below joins the lowest band
    found.reverse()
    return {
        "upto": [end for end, _ in found],
        "n": [int(own.sum()) for _, own in found],
        "positive": [int((targets[own] == 1).sum()) for _, own in found],
    }


def _known(targets: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = ~np.isnan(targets)
    return targets[known] == 1, values[known]


def _smoothed(positive: np.ndarray) -> np.ndarray:
    """Platt's targets: never 0 or 1, so that what separates perfectly has a finite slope."""
    count = positive.sum()
    return np.where(positive, (count + 1) / (count + 2), 1 / (len(positive) - count + 2))


def _shared(values: np.ndarray, positive: np.ndarray) -> tuple[float, float]:
    """Slope and offset of a logistic regression on one value, by damped Newton steps."""
    wanted, terms = _smoothed(positive), np.stack([values, np.ones_like(values)])
    found = np.array([1.0, 0.0])
    best = _loss(found @ terms, wanted)
    for _ in range(100):
        says = expit(found @ terms)
        slope = terms @ (says - wanted)
        bend = (terms * (says * (1 - says))) @ terms.T + 1e-9 * np.eye(2)
        step = np.linalg.solve(bend, slope)
        while (loss := _loss((found - step) @ terms, wanted)) > best and np.abs(step).max() > 1e-12:
            step /= 2
        if best - loss <= 1e-12 * abs(best):
            break
        found, best = found - step, loss
    a = float(np.clip(found[0], *SLOPES))
    b = float(found[1]) if a == found[0] else _offset(a * values, positive)
    return a, b


def _slope_of_classes(logits: np.ndarray, targets: np.ndarray) -> float:
    """The slope of highest likelihood: its derivative rises with it, and is halved in its logarithm to 0."""
    known = ~np.isnan(targets).any(axis=1)
    logits, truth = logits[known], targets[known] == 1
    if truth.any(axis=0).sum() < 2:
        raise ConfigError("calibration needs records of several classes; found fewer than two")

    def rises(slope: float) -> bool:
        return bool(((softmax(slope * logits, axis=1) - truth) * logits).sum() > 0)

    low, high = SLOPES
    for _ in range(60):
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if rises(middle) else (middle, high)
    return float(np.sqrt(low * high))


def _loss(values: np.ndarray, wanted: np.ndarray) -> float:
    return float((np.logaddexp(0, values) - wanted * values).sum())


def _offset(values: np.ndarray, positive: np.ndarray) -> float:
    """What must be added to logits for as many to be positive as are; the answer is bracketed, then halved."""
    wanted = _smoothed(positive).sum()
    low, high = -40.0 - values.max(), 40.0 - values.min()
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if expit(values + middle).sum() < wanted else (low, middle)
    return (low + high) / 2


def _curve(values: np.ndarray, positive: np.ndarray) -> dict[str, list[float]] | None:
    """Knots of a monotone curve from logits to logits: the middles of the blocks of an isotonic regression."""
    from sklearn.isotonic import IsotonicRegression

    order = np.argsort(values, kind="stable")
    ranked, has = values[order], positive[order]
    level = IsotonicRegression().fit_transform(ranked, has.astype(float))
    starts = np.flatnonzero(np.r_[True, np.diff(level) > 0])
    sizes = np.diff(np.r_[starts, len(level)])
    heights = logit((np.add.reduceat(has, starts, dtype=float) + 0.5) / (sizes + 1))
    knots = np.add.reduceat(ranked, starts) / sizes
    if len(knots) < 2:
        return None
    return {"logit": knots.tolist(), "calibrated": np.maximum.accumulate(heights).tolist()}


def _points(positive: np.ndarray, values: np.ndarray) -> dict[str, Any] | None:
    count, others = int(positive.sum()), int((~positive).sum())
    if min(count, others) < LEAST:
        return None
    cuts = np.unique(values)
    hits = np.array([count, *(count - np.cumsum(_tally(cuts, values[positive])))])[:-1]  # at or above each cut
    alarms = np.array([others, *(others - np.cumsum(_tally(cuts, values[~positive])))])[:-1]
    sensitive, specific = hits / count, 1 - alarms / others
    places = {
        "f1": np.argmax(2 * hits / (hits + alarms + count)),
        "youden": np.argmax(sensitive + specific),
        "sens90": np.flatnonzero(sensitive >= 0.9)[-1],
        "spec95": np.flatnonzero(specific >= 0.95)[0] if (specific >= 0.95).any() else len(cuts) - 1,
    }
    return {name: _point(cuts, int(places[name]), hits, alarms, (count, others)) for name in POINTS}


def _tally(cuts: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.bincount(np.searchsorted(cuts, values), minlength=len(cuts))


def _point(cuts: np.ndarray, place: int, hits: np.ndarray, alarms: np.ndarray, counts: tuple[int, int]) -> Any:
    """A threshold half way (in log odds) to the next lower probability, and what it reaches."""
    low, high = np.clip([cuts[max(place - 1, 0)], cuts[place]], 1e-12, 1 - 1e-12)
    count, others = counts
    found, right = int(hits[place]), others - int(alarms[place])
    return {
        "threshold": float(expit((logit(low) + logit(high)) / 2)) if place else 0.0,
        "sensitivity": found / count,
        "sensitivity_interval": list(wilson(found, count)),
        "specificity": right / others,
        "specificity_interval": list(wilson(right, others)),
    }
