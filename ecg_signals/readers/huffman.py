"""Huffman codes of SCP-ECG: the default table, and tables that a file brings along (EN 1064, section 2)."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

_SHORT, _LONG = 9, 10  # ones before an 8-bit and a 16-bit number
_LENGTHS = np.array([1, *range(3, 11), 18, 26])  # bits of a code, by the ones at its start
_WIDTHS = {_SHORT: (8, 10), _LONG: (16, 10)}  # bits of a number, and bits before it
_BLOCK = 1 << 18  # bytes that are looked at together

Decoder = Callable[[bytes, int], tuple[np.ndarray, int]]


def huffman_counts(data: bytes, most: int) -> tuple[np.ndarray, int]:
    """int64 [at most `most`]: the numbers that `data` holds by the default table, and the bytes that they take; a code
    that is cut off at the end counts no more.

    `0` is 0; k ones, a zero and a sign (0 plus) are k or -k, for k of 1 to 8; `1111111110` stands before an 8-bit and
    `1111111111` before a 16-bit number in two's complement.
    """
    parts: list[np.ndarray] = []
    at = 0  # bits
    while most > 0:
        values, used = _block(data[at // 8 : at // 8 + _BLOCK], at % 8, most)
        if not len(values):
            break
        parts.append(values)
        at, most = at + used, most - len(values)
    return np.concatenate([np.zeros(0, np.int64), *parts]), -(-at // 8)


def _block(data: bytes, first: int, most: int) -> tuple[np.ndarray, int]:
    """The numbers from bit `first` on, and the bits that they take."""
    bits = np.unpackbits(np.frombuffer(data, np.uint8))[first:]
    size = len(bits)
    zeros = np.where(bits == 0, np.arange(size), size)
    ahead = np.minimum.accumulate(zeros[::-1])[::-1] - np.arange(size)  # ones from every bit on
    ones = np.minimum(ahead, _LONG)
    lengths = _LENGTHS[ones].tolist()
    starts: list[int] = []
    at = 0
    while at < size and len(starts) < most:
        starts.append(at)
        at += lengths[at]
    if starts and at > size:
        at = starts.pop()
    places = np.array(starts, dtype=np.int64)
    kinds = ones[places]
    values = np.zeros(len(places), np.int64)
    signed = (kinds > 0) & (kinds < _SHORT)
    values[signed] = kinds[signed] * (1 - 2 * bits[places[signed] + kinds[signed] + 1].astype(np.int64))
    for kind, (width, before) in _WIDTHS.items():
        chosen = places[kinds == kind]
        if len(chosen):
            digits = bits[chosen[:, None] + before + np.arange(width)].astype(np.int64)
            plain = digits @ (1 << np.arange(width - 1, -1, -1))
            values[kinds == kind] = plain - (digits[:, 0] << width)
    return values, at


@dataclass(frozen=True)
class _Code:
    """What stands for a prefix: `value`, to which `more` bits behind the prefix are added in two's complement; or, of a
    switch, the table that further codes are read by, counted from 0."""

    value: int
    more: int
    switch: bool


_Table = dict[str, _Code]  # by the letters 0 and 1 of the prefix


def own_tables(stored: bytes) -> Decoder:
    """What reads by the tables of a section 2, whose first one every lead begins with.

    Raises: ValueError for tables that are cut off, or whose codes are not told apart.
    """
    try:
        tables, at = [], 2
        for _ in range(struct.unpack_from("<H", stored)[0]):
            (count,) = struct.unpack_from("<H", stored, at)
            codes = [struct.unpack_from("<BBBhI", stored, at + 2 + 9 * number) for number in range(count)]
            at += 2 + 9 * count
            tables.append(dict(_code(*code) for code in codes))
            if len(tables[-1]) < max(count, 1) or any(b.startswith(a) for a, b in pairwise(sorted(tables[-1]))):
                raise ValueError(f"codes of table {len(tables)} are not told apart")
    except struct.error:
        raise ValueError("they are cut off") from None
    if any(code.switch and not 0 <= code.value < len(tables) for table in tables for code in table.values()):
        raise ValueError("a code switches to a table that is not there")
    return lambda data, most: _read(tables, data, most)


def _code(prefix: int, entire: int, mode: int, value: int, stored: int) -> tuple[str, _Code]:
    """The bits of a prefix are stored from the lowest one on; mode 0 is a switch to a table, counted from 1."""
    if not 0 < prefix <= 32 or not 0 <= entire - prefix <= 32 or stored >> prefix:
        raise ValueError(f"a code has {entire} bits, {prefix} of them its prefix {stored}")
    return format(stored, f"0{prefix}b")[::-1], _Code(value - (not mode), entire - prefix, not mode)


def _read(tables: list[_Table], data: bytes, most: int) -> tuple[np.ndarray, int]:
    """As `huffman_counts`; bits that are no code end the numbers."""
    bits = format(int.from_bytes(b"\1" + data, "big"), "b")[1:]
    lengths = [sorted({len(prefix) for prefix in table}) for table in tables]
    values: list[int] = []
    table, at, end = 0, 0, 0  # `end` is that of the last number
    while len(values) < most:
        found = ((length, tables[table].get(bits[at : at + length])) for length in lengths[table])
        length, code = next(((length, code) for length, code in found if code is not None), (0, None))
        if code is None:
            break
        at += length + code.more
        if at > len(bits):
            break
        if code.switch:
            table = code.value
            continue
        more = bits[at - code.more : at]
        values.append(code.value + (int(more, 2) - (int(more[0]) << len(more)) if more else 0))
        end = at
    return np.array(values, np.int64), -(-end // 8)
