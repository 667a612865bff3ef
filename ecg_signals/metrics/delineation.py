"""Waves in a sequence of classes, and how well their boundaries are found."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass

import numpy as np

BOUNDARIES = ("onset", "offset")
TOLERANCE_SECONDS = 0.15  # as in ANSI/AAMI-EC57 and the evaluations of LUDB and QT
_LOG = re.compile(r"(?:\d+_)?(\w+)_(onset|offset)_(hits|extra|missed|error|squared)")


def delineate(classes: np.ndarray, waves: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Runs of equal classes.

    Args:
        classes: [samples] class of every sample.
        waves: name -> class; other classes are no waves.
    Returns: name -> int64 [waves, 2], first and last sample of each, inclusive. A wave of a single sample at the very
        end is left out, as published.
    """
    changes = np.flatnonzero(np.diff(classes)) + 1
    first = np.concatenate([[0], changes]).astype(np.int64)
    last = np.concatenate([changes - 1, [len(classes) - 1]]).astype(np.int64)
    whole = first < len(classes) - 1
    found = classes[first] if len(classes) else classes
    return {name: np.stack([first, last], axis=1)[whole & (found == number)] for name, number in waves.items()}


@dataclass
class Matches:
    """Boundaries of one kind, counted; sums of several records are added.

    Attributes:
        hits: pairs of a found and a true boundary.
        extra: found ones without a true one.
        missed: true ones that were not found.
        error, squared: sums of found - true over the pairs, and of its square; seconds.
    """

    hits: float = 0.0
    extra: float = 0.0
    missed: float = 0.0
    error: float = 0.0
    squared: float = 0.0

    @property
    def sensitivity(self) -> float:
        return _ratio(self.hits, self.hits + self.missed)

    @property
    def ppv(self) -> float:
        """Positive predictive value."""
        return _ratio(self.hits, self.hits + self.extra)

    @property
    def f1(self) -> float:
        return _ratio(2 * self.hits, 2 * self.hits + self.extra + self.missed)

    @property
    def mean(self) -> float:
        """Of the errors, seconds; positive: found too late."""
        return _ratio(self.error, self.hits)

    @property
    def deviation(self) -> float:
        """Of the errors, seconds, with n - 1."""
        if self.hits < 2:
            return math.nan
        return math.sqrt(max(0.0, self.squared - self.error**2 / self.hits) / (self.hits - 1))


def summed(matches: Iterable[Matches]) -> Matches:
    """Of several records or kinds together."""
    rows = [astuple(one) for one in matches]
    return Matches(*map(math.fsum, zip(*rows))) if rows else Matches()


def as_logs(records: Sequence[Mapping[tuple[str, str], Matches]]) -> dict[str, float]:
    """Sums over records of what `compare` gives, as numbers with a name each that can be summed further."""
    kinds = records[0] if records else {}
    totals = {kind: asdict(summed(record[kind] for record in records)) for kind in kinds}
    return {f"{wave}_{end}_{name}": value for (wave, end), one in totals.items() for name, value in one.items()}


def matches_in(logs: Mapping[str, float]) -> dict[tuple[str, str], Matches]:
    """The inverse of `as_logs`; other names are passed over, and so is the number of a criterion before one."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for key, value in logs.items():
        name = _LOG.fullmatch(key)
        if name:
            found.setdefault((name[1], name[2]), {})[name[3]] = value
    return {kind: Matches(**values) for kind, values in found.items()}


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def match(found: np.ndarray, true: np.ndarray, judged: np.ndarray, rate: float) -> Matches:
    """Compare boundaries of one kind in one lead: the nearest pairs first, each boundary in one pair at most.

    Args:
        found, true: ascending numbers of samples.
        judged: bool [samples], where boundaries were looked for by whoever marked the true ones; what is found
            elsewhere without a true one beside it counts neither way.
        rate: Hz.
    """
    tolerance = TOLERANCE_SECONDS * rate
    found_left, true_left, errors = set(range(len(found))), set(range(len(true))), []
    for _, one, other in sorted(_near(found, true, tolerance)):
        if one in found_left and other in true_left:
            found_left.remove(one)
            true_left.remove(other)
            errors.append((int(found[one]) - int(true[other])) / rate)
    extra = sum(bool(judged[found[one]]) for one in found_left)
    squared = math.fsum(error * error for error in errors)
    return Matches(len(errors), extra, len(true_left), math.fsum(errors), squared)


def _near(found: np.ndarray, true: np.ndarray, tolerance: float) -> list[tuple[int, int, int]]:
    """(distance, place in found, place in true) of all pairs within the tolerance."""
    first = np.searchsorted(found, true - tolerance, side="left")
    end = np.searchsorted(found, true + tolerance, side="right")
    return [
        (abs(int(found[one]) - int(true[other])), one, other)
        for other in range(len(true))
        for one in range(int(first[other]), int(end[other]))
    ]


def compare(
    found: np.ndarray, true: np.ndarray, judged: np.ndarray, waves: Mapping[str, int], rate: float
) -> dict[tuple[str, str], Matches]:
    """(wave, boundary) -> what of it was found.

    Args:
        found, true: [samples] classes.
        judged: bool [samples], see `match`; true waves are counted where both ends lie there.
    """
    out = {}
    answers, marks = delineate(found, waves), delineate(true, waves)
    for wave in waves:
        spans = marks[wave][judged[marks[wave]].all(axis=1)]
        for side, boundary in enumerate(BOUNDARIES):
            out[wave, boundary] = match(answers[wave][:, side], spans[:, side], judged, rate)
    return out
