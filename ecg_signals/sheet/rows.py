"""How far apart the rows of a sheet stand, so that none enters another."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

GAP = 0.8  # mm of free paper between what stands in neighbouring rows, and inside the grid's edges
FARTHEST = 0.75  # of the way to a neighbouring baseline that a trace may go
TALLEST = 32.0  # mm from a baseline that a trace may go on any sheet: three quarters of a row of the usual printout
ABOVE, BELOW = 0.55, 0.45  # of the distance of two rows: above the first baseline, below the last


@dataclass(frozen=True)
class Extent:
    """What a part of a trace, a name or a pulse takes of its row: from `left` to `right`, mm above and below the
    baseline. A `whole` trace keeps out of the others' rows, but names may stand there."""

    left: float
    right: float
    up: float
    down: float
    whole: bool = False


def spread(rows: Sequence[Sequence[Extent]], height: float) -> list[float] | None:
    """Baselines below the grid's upper edge, as evenly as the rows allow; None where they do not fit into `height`.

    No extent touches one of another row or an edge, and no trace goes farther than FARTHEST of the way to the baseline
    of a neighbour, nor farther than TALLEST.
    """
    if max(max(e.up, e.down) for row in rows for e in row if e.whole) > TALLEST:
        return None
    least = [max(e.up for e in rows[0]) + GAP]
    least += [_apart(above, below) for above, below in pairwise(rows)]
    least.append(max(e.down for e in rows[-1]) + GAP)
    if sum(least) > height:
        return None
    weights = [ABOVE, *[1.0] * (len(rows) - 1), BELOW]
    low, high = 0.0, height / ABOVE  # the even distance: as large as it may be
    for _ in range(60):
        middle = (low + high) / 2
        fits = sum(max(need, weight * middle) for need, weight in zip(least, weights)) <= height
        low, high = (middle, high) if fits else (low, middle)
    baselines, at = [], 0.0
    for need, weight in zip(least[:-1], weights):
        at += max(need, weight * low)
        baselines.append(at)
    return baselines


def _apart(above: Sequence[Extent], below: Sequence[Extent]) -> float:
    """The least distance of two baselines."""
    beside = [
        a.down + b.up + GAP
        for a in above
        for b in below
        if a.whole == b.whole and a.left < b.right and b.left < a.right
    ]
    reach = [a.down for a in above if a.whole] + [b.up for b in below if b.whole]
    return max([*beside, *(mm / FARTHEST for mm in reach), GAP])
