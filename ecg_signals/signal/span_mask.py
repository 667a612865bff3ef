"""Which frames, or feature channels, a pretraining model hides: random spans, equally many per item."""

from collections.abc import Sequence

import numpy as np

LENGTHS = ("static", "uniform", "normal", "poisson")


def compute_mask_indices(
    shape: tuple[int, int],
    padding_mask: np.ndarray | None,
    mask_prob: float,
    mask_length: int,
    mask_type: str = "static",
    mask_other: float = 0.0,
    min_masks: int = 0,
    no_overlap: bool = False,
    min_space: int = 0,
    *,
    rng: np.random.RandomState,
) -> np.ndarray:
    """Draw spans, then hide in every item as many frames as in the item that got fewest.

    Args:
        shape: (items, frames).
        padding_mask: bool [items, frames], True = padding; spans start and end before it. None: no padding.
        mask_prob: spans x mask_length / frames; overlapping spans hide less than that share.
        mask_length: frames of a span, or the parameter of its distribution.
        mask_type: static L, uniform in [other, 2L], normal N(L, other) at least 1, or poisson(L).
        mask_other: see mask_type.
        min_masks: fewest spans per item.
        no_overlap: spans stay `min_space` frames apart and none is cut.
        rng: every draw comes from it, in fairseq's order, so that equal seeds give equal masks.
    Returns: bool [items, frames], True = hidden; every row has the same number of True. Surplus frames are
        given back at random, which breaks spans.
    Raises: ValueError for an unknown mask_type.
    Source: Baevski et al. 2020, wav2vec 2.0, arXiv:2006.11477.
    """
    if mask_type not in LENGTHS:
        raise ValueError(f"mask_type is {mask_type!r}; it must be one of {', '.join(LENGTHS)}")
    items, frames = shape
    mask = np.zeros(shape, dtype=bool)
    shared_count = _span_count(frames, mask_prob, mask_length, min_masks, rng)
    hidden = []
    for item in range(items):
        size, count = frames, shared_count
        if padding_mask is not None:
            size = frames - int(padding_mask[item].sum())
            count = _span_count(size, mask_prob, mask_length, min_masks, rng)
        lengths = _span_lengths(count, mask_type, mask_length, mask_other, size, rng)
        place = _place_apart if no_overlap else _place_anywhere
        positions = place(lengths, size, min_space, rng)
        hidden.append(np.unique(positions[positions < size]))
    fewest = min(len(positions) for positions in hidden)
    for item, positions in enumerate(hidden):
        if len(positions) > fewest:
            positions = rng.choice(positions, fewest, replace=False)
        mask[item, positions] = True
    return mask


def _span_count(size: int, mask_prob: float, mask_length: int, min_masks: int, rng: np.random.RandomState) -> int:
    """The expected number, rounded up or down at random."""
    return max(min_masks, int(mask_prob * size / float(mask_length) + rng.random_sample()))


def _span_lengths(
    count: int, mask_type: str, mask_length: int, mask_other: float, size: int, rng: np.random.RandomState
) -> Sequence[int]:
    if mask_type == "static":
        lengths = [mask_length] * count
    elif mask_type == "uniform":
        lengths = [int(length) for length in rng.randint(int(mask_other), mask_length * 2 + 1, size=count)]
    elif mask_type == "normal":
        lengths = [max(1, round(length)) for length in rng.normal(mask_length, mask_other, size=count)]
    else:
        lengths = [int(length) for length in rng.poisson(mask_length, size=count)]
    if count and sum(lengths) == 0:
        lengths[0] = min(mask_length, size - 1)
    return lengths


def _place_anywhere(lengths: Sequence[int], size: int, min_space: int, rng: np.random.RandomState) -> np.ndarray:
    """Distinct starts, spans may overlap; short items take their starts from all but the last frames."""
    if not lengths:
        return np.empty(0, dtype=np.int64)
    shortest = min(lengths)
    if size - shortest <= len(lengths):
        shortest = size - len(lengths) - 1
    starts = rng.choice(size - shortest, len(lengths), replace=False)
    return np.concatenate([np.arange(start, start + length) for start, length in zip(starts, lengths)])


def _place_apart(lengths: Sequence[int], size: int, min_space: int, rng: np.random.RandomState) -> np.ndarray:
    """Longest span first, each in a free stretch drawn by its length; spans that no longer fit are left out."""
    free = [(0, size)]
    placed: list[int] = []
    shortest = min(lengths, default=0)
    spare = max(min_space, 1)  # the last place of a stretch is never drawn
    for length in sorted(lengths, reverse=True):
        room = np.array([end - start if end - start >= length + spare else 0 for start, end in free], dtype=np.int64)
        if room.sum() == 0:
            break
        start, end = free.pop(rng.choice(len(free), p=room / room.sum()))
        at = int(rng.randint(start, end - length))
        placed.extend(range(at, at + length))
        if at - start - min_space >= shortest:
            free.append((start, at - min_space + 1))
        if end - at - shortest - min_space > shortest:
            free.append((at + length + min_space, end))
    return np.array(placed, dtype=np.int64)
