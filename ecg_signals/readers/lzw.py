"""LZW with codes of ten bits, as Philips' XLI packs each lead."""

import numpy as np

_BITS = 10
_LAST = (1 << _BITS) - 1  # no string: the table has 1023 entries, and this code ends the data


def unpack_lzw(data: bytes, most: int) -> bytes | None:
    """What `data` was before it was packed; None where it is malformed or would become more than `most` bytes."""
    strings = [bytes([value]) for value in range(256)]
    parts: list[bytes] = []
    total, before = 0, b""
    for code in _codes(data):
        if code == _LAST:
            break
        if code < len(strings):
            found = strings[code]
        elif code == len(strings) and before:
            found = before + before[:1]
        else:
            return None
        if before and len(strings) < _LAST:
            strings.append(before + found[:1])
        total += len(found)
        if total > most:
            return None
        parts.append(found)
        before = found
    return b"".join(parts)


def _codes(data: bytes) -> list[int]:
    """The codes, highest bit first; bits at the end that are no whole code are left out."""
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    whole = bits[: len(bits) // _BITS * _BITS].reshape(-1, _BITS).astype(np.int64)
    codes: list[int] = (whole @ (1 << np.arange(_BITS - 1, -1, -1))).tolist()
    return codes
