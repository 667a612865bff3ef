"""The default Huffman table of SCP-ECG."""

import numpy as np

_SHORT, _LONG = 9, 10  # ones before an 8-bit and a 16-bit number
_LENGTHS = np.array([1, *range(3, 11), 18, 26])  # bits of a code, by the ones at its start
_WIDTHS = {_SHORT: (8, 10), _LONG: (16, 10)}  # bits of a number, and bits before it


def huffman_counts(data: bytes, most: int) -> np.ndarray:
    """int64 [at most `most`]: the numbers that `data` holds; a code that is cut off at the end counts no more.

    `0` is 0; k ones, a zero and a sign (0 plus) are k or -k, for k of 1 to 8; `1111111110` stands before an 8-bit and
    `1111111111` before a 16-bit number in two's complement.
    """
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
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
        starts.pop()
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
    return values
