"""Which patches the context encoder sees and which are to be predicted: long masked blocks, few visible patches.

Weimann and Conrad 2024, arXiv:2410.13867.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecg_signals.config import ConfigError

Masks = tuple[NDArray[np.int64], NDArray[np.int64]]  # visible [rows, k] and masked [rows, patches - k], ascending
Interval = tuple[int, int]


@dataclass(frozen=True)
class MaskRule:
    """How a batch is masked.

    Attributes:
        min_block: patches of a masked block at least; what is left over at last lies beside another block.
        min_keep, max_keep: share of the patches that stays visible, drawn evenly, the same in all rows.
        rotate: turn each row's mask by a random number of patches, from the end to the beginning. Without it the ends
            of a record are visible four times as often as its middle; with it all patches are alike.
    """

    min_block: int = 10
    min_keep: float = 0.15
    max_keep: float = 0.25
    rotate: bool = False

    def __post_init__(self) -> None:
        if self.min_keep > self.max_keep:
            raise ConfigError(f"model.min_keep_ratio={self.min_keep} is more than model.max_keep_ratio={self.max_keep}")

    def masked(self, patches: int, share: float) -> int:
        """Masked patches of a row whose visible share is `share`: one at least, as is one visible patch."""
        if patches < 2:
            raise ConfigError(f"the input has {patches} patch; set model.patch_size to half its samples or less")
        return patches - min(max(math.ceil(share * patches), 1), patches - 1)

    def draw(self, rows: int, patches: int, rng: np.random.Generator) -> Masks:
        """All rows at once; the same distribution as `draw_in_published_order`."""
        masked = self.masked(patches, rng.uniform(self.min_keep, self.max_keep))
        visible = _visible(rows, patches, masked, self.min_block, rng)
        return _indices(self._rotated(visible, rng) if self.rotate else visible)

    def draw_in_published_order(self, rows: int, patches: int, rng: np.random.RandomState) -> Masks:
        """Row by row with the calls of the published sampler: the same masks from the same state of `rng`."""
        masked = self.masked(patches, rng.uniform(self.min_keep, self.max_keep))
        visible = np.stack([_visible_row(patches, masked, self.min_block, rng) for _ in range(rows)])
        return _indices(self._rotated(visible, rng) if self.rotate else visible)

    def _rotated(
        self, visible: NDArray[np.bool_], rng: np.random.Generator | np.random.RandomState
    ) -> NDArray[np.bool_]:
        rows, patches = visible.shape
        turned = (
            np.arange(patches)
            - (rng.random_sample if isinstance(rng, np.random.RandomState) else rng.random)((rows, 1)) * patches
        )
        return np.take_along_axis(visible, np.floor(turned).astype(np.int64) % patches, axis=1)


def _indices(visible: NDArray[np.bool_]) -> Masks:
    return tuple(np.nonzero(chosen)[1].reshape(len(visible), -1) for chosen in (visible, ~visible))  # type: ignore[return-value]


def _visible_row(patches: int, masked: int, min_block: int, rng: np.random.RandomState) -> NDArray[np.bool_]:
    """[patches], True = visible."""
    visible: list[Interval] = [(0, patches)]
    room = masked
    while room > 0:
        lengths = np.array([end - start for start, end in visible], dtype=np.float64)
        start, end = visible.pop(rng.choice(len(visible), p=lengths / lengths.sum()))
        size = rng.randint(min_block, room + 1) if room >= min_block else room
        room -= min(size, end - start)
        if end - start > size:
            first = _place(start, end, size, patches, size >= min_block, rng)
            visible += [(start, first), (first + size, end)]
    out = np.zeros(patches, dtype=np.bool_)
    for start, end in visible:
        out[start:end] = True
    return out


def _place(start: int, end: int, size: int, patches: int, alone: bool, rng: np.random.RandomState) -> int:
    """Where a block of `size` begins between `start` and `end`; one that may not stand alone joins a neighbour."""
    beside = [place for place, joins in ((start, start > 0), (end - size, end < patches)) if joins]
    return int(rng.randint(start, end - size + 1) if alone or not beside else rng.choice(beside))


def _visible(rows: int, patches: int, masked: int, min_block: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """[rows, patches], True = visible: one block a turn, in all rows that are not done."""
    starts, ends = np.zeros((rows, 1), dtype=np.int64), np.full((rows, 1), patches, dtype=np.int64)
    room = np.full(rows, masked, dtype=np.int64)
    while (active := np.flatnonzero(room)).size:
        lengths = np.cumsum(ends[active] - starts[active], axis=1)
        point = _below(lengths[:, -1], rng)  # a visible patch, every one alike, falls into an interval
        chosen = (lengths <= point[:, None]).sum(axis=1)
        start, end = starts[active, chosen], ends[active, chosen]
        alone = room[active] >= min_block
        size = np.where(alone, min_block + _below(room[active] - min_block + 1, rng), room[active])
        size = np.minimum(size, end - start)
        first = _places(start, end, size, patches, alone, rng)
        ends[active, chosen] = first
        room[active] -= size
        more = np.zeros((2, rows, 1), dtype=np.int64)  # what is left behind the block, nothing in the other rows
        more[:, active, 0] = first + size, end
        starts, ends = np.hstack([starts, more[0]]), np.hstack([ends, more[1]])
    return _between(starts, ends, patches)


def _below(limits: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Integers from 0 to below each limit, evenly; 0 for limits below 1."""
    return (rng.random(len(limits)) * np.maximum(limits, 1)).astype(np.int64)


def _places(
    start: NDArray[np.int64], end: NDArray[np.int64], size: NDArray[np.int64], patches: int,
    alone: NDArray[np.bool_], rng: np.random.Generator,
) -> NDArray[np.int64]:  # fmt: skip
    """As `_place`, for all rows."""
    left, right = start > 0, end < patches
    free = start + _below(end - size - start + 1, rng)
    coin = rng.random(len(start)) < 0.5
    return np.where(alone | ~(left | right), free, np.where(left & (coin | ~right), start, end - size))


def _between(starts: NDArray[np.int64], ends: NDArray[np.int64], patches: int) -> NDArray[np.bool_]:
    """[rows, patches], True from a start to its end."""
    rows, width = len(starts), patches + 1
    offset = np.arange(rows)[:, None] * width
    opened, closed = (np.bincount((offset + edge).ravel(), minlength=rows * width) for edge in (starts, ends))
    return (opened - closed).reshape(rows, width).cumsum(axis=1)[:, :patches] > 0
