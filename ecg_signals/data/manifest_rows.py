"""Lines of a manifest parsed by the million: a block of them as bytes -> columns.

What is written as our tools write it takes this way; a block with anything else in it is left to one that looks at
lines one by one.
"""

import secrets
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

TABS = {"plain": 1, "identification": 2, "cmsc": 3}
MOST_DIGITS = 18  # of a number that int64 holds
_NEWLINE, _TAB, _COMMA, _BLANK, _ZERO, _NINE = (ord(sign) for sign in "\n\t, 09")


class Rows(NamedTuple):
    """Rows of a manifest, those of a block.

    Attributes:
        paths, extras: the texts of all rows behind one another, uint8; extra: segments or class.
        samples: [rows] int64.
        parts: [rows] int32, segments that a cmsc row names, else 1.
        keys: [rows] uint64, equal for the same path (cmsc: and segments), hardly ever for others.
        path_sizes, extra_sizes: [rows] bytes of each text.
    """

    paths: np.ndarray
    extras: np.ndarray
    samples: np.ndarray
    parts: np.ndarray
    keys: np.ndarray
    path_sizes: np.ndarray
    extra_sizes: np.ndarray


def rows_of(paths: Sequence[bytes], samples: Sequence[int], extras: Sequence[bytes], kind: str) -> Rows:
    """Rows from their texts and numbers."""
    return _finished(
        np.frombuffer(b"".join(paths), np.uint8),
        np.array([len(path) for path in paths], dtype=np.int32),
        np.array(samples, dtype=np.int64),
        np.frombuffer(b"".join(extras), np.uint8),
        np.array([len(extra) for extra in extras], dtype=np.int32),
        kind,
    )


def parse_block(block: bytes, kind: str) -> Rows | None:
    """Whole lines -> rows; None when one of them has to be looked at by itself."""
    if not block.endswith(b"\n"):
        block += b"\n"
    if b"\0" in block or not (block.isascii() or _is_utf8(block)):
        return None
    data = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(data == _NEWLINE)
    tabs = np.flatnonzero(data == _TAB)
    if len(tabs) != TABS[kind] * len(ends):
        return None
    starts = np.concatenate([[0], ends[:-1] + 1])
    bounds = np.column_stack([starts, tabs.reshape(len(ends), -1), ends])  # [rows, columns + 1]
    begun = data[starts]
    if (np.diff(bounds, axis=1) < 1).any() or (begun <= _BLANK).any() or (begun >= 128).any():
        return None
    samples = numbers(data, bounds[:, 1] + 1, bounds[:, 2])
    if samples is None or not samples.all():
        return None
    first, behind = (bounds[:, -2] + 1, ends) if kind != "plain" else (ends, ends)
    if kind != "plain" and not _are_lists(data, first, behind, commas=kind == "cmsc"):
        return None
    paths, path_sizes = _cut_out(data, starts, bounds[:, 1])
    extras, extra_sizes = _cut_out(data, first, behind)
    return _finished(paths, path_sizes, samples, extras, extra_sizes, kind)


def _is_utf8(block: bytes) -> bool:
    try:
        block.decode()
    except UnicodeDecodeError:
        return False
    return True


def _finished(
    paths: np.ndarray,
    path_sizes: np.ndarray,
    samples: np.ndarray,
    extras: np.ndarray,
    extra_sizes: np.ndarray,
    kind: str,
) -> Rows:
    parts, keys = np.ones(len(samples), dtype=np.int32), _hashed(paths, path_sizes, 0)
    if kind == "cmsc":
        parts += _summed(extras == _COMMA, extra_sizes).astype(np.int32)
        keys += _hashed(extras, extra_sizes, 1)
    return Rows(paths, extras, samples, parts, keys, path_sizes, extra_sizes)


def _cut_out(data: np.ndarray, first: np.ndarray, behind: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of texts, joined, and the size of each."""
    inside = np.zeros(len(data) + 1, dtype=np.int8)
    inside[first] += 1
    inside[behind] -= 1
    return data[np.cumsum(inside[:-1], dtype=np.int8).view(bool)], (behind - first).astype(np.int32)


def numbers(data: np.ndarray, first: np.ndarray, behind: np.ndarray) -> np.ndarray | None:
    """[rows] int64 from decimal digits; None where there is anything else."""
    sizes = behind - first
    if not len(sizes) or sizes.min() < 1 or sizes.max() > MOST_DIGITS:
        return None
    found = np.zeros(len(first), dtype=np.int64)
    for place in range(int(sizes.max())):
        there = place < sizes
        digits = data[np.minimum(first + place, behind - 1)].astype(np.int64) - _ZERO
        if ((digits < 0) | (digits > 9))[there].any():
            return None
        found = np.where(there, 10 * found + digits, found)
    return found


def _are_lists(data: np.ndarray, first: np.ndarray, behind: np.ndarray, commas: bool) -> bool:
    """Whether texts are whole numbers as Python writes them, with single commas between them if `commas`."""
    texts, sizes = _cut_out(data, first, behind)
    digits = (texts >= _ZERO) & (texts <= _NINE)
    if not (digits | (commas & (texts == _COMMA))).all():
        return False
    ends = np.cumsum(sizes)
    begins = np.zeros(len(texts) + 1, dtype=bool)  # of a number
    begins[0] = begins[ends] = True
    begins[1:] |= ~digits
    last = begins[1:]  # of a number, or a comma
    begins = begins[:-1]
    zero_before_digit = begins & (texts == _ZERO) & ~last & np.append(digits[1:], False)
    return bool(digits[begins].all() and digits[ends - 1].all() and not zero_before_digit.any())


def _summed(values: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """[texts] sums over the bytes of each text."""
    sums = np.zeros(len(values) + 1, dtype=np.uint64)
    np.cumsum(values, out=sums[1:], dtype=np.uint64)
    ends = np.cumsum(sizes, dtype=np.int64)
    return sums[ends] - sums[ends - sizes]


def _hashed(texts: np.ndarray, sizes: np.ndarray, which: int) -> np.ndarray:
    """[texts] uint64: sums over their bytes of secret factors for byte and place, so that nobody can make two alike."""
    if not len(texts):
        return np.zeros(len(sizes), dtype=np.uint64)
    factors = _secret(1 << max(8, int(sizes.max()).bit_length()), which)
    ends = np.cumsum(sizes, dtype=np.int64)
    place = np.arange(len(texts)) - np.repeat(ends - sizes, sizes)
    return _summed(_secret(256, 2 + which)[texts] * factors[place], sizes)


@cache
def _secret(count: int, which: int) -> np.ndarray:
    """[count] odd uint64, the same for the life of the process."""
    return np.frombuffer(secrets.token_bytes(8 * count), np.uint64) | np.uint64(1)
