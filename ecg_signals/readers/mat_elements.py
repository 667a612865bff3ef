"""The elements of a MATLAB v4 or v5 file, walked through one by one: compressed ones, text, cells and structs too."""

import math
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.limits import DEEPEST, LONGEST_NAME, LONGEST_TEXT, MOST_CELLS, believable

HEADER = 128  # bytes of text, version and byte order before the first element of a v5 file
_V5 = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}  # bytes 124-127 -> byte order
MATRIX, _COMPRESSED = 14, 15  # miMATRIX, miCOMPRESSED of the MAT-file format's data types
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_CELL, _STRUCT, _CHAR = 1, 2, 4
NUMERIC = range(6, 16)  # classes: double, single, int8 ... uint64
COMPLEX = 0x0800  # flag of a matrix with imaginary parts
_V4_TYPES = ("f8", "f4", "i4", "i2", "u2", "u1")
_PIECE = 2**16  # bytes that are inflated at a time


class Truncated(Exception):
    """An element that ends behind the end of the file."""


class _Unreadable(Exception):
    """Bytes that are no such element."""


def read_elements(path: str, content: bytes, names: tuple[str, ...] | None) -> dict[str, np.ndarray]:
    """The wanted arrays of a file by name; sparse ones, functions and objects are left out.

    Raises: Truncated; ConfigError for what is no MATLAB v4 or v5 file, and for more memory than is believable.
    """
    version = content[124:128]
    if version == b"\x00\x02IM":
        raise ConfigError(f"{path} is a MATLAB 7.3 file; save it with '-v7' and read it again")
    try:
        if version in _V5:
            return _Walk(path, content, _V5[version]).arrays(names)
        if content[:6] == b"MATLAB":
            raise Truncated
        return {name: value for name, value in _read_v4(content) if names is None or name in names}
    except (_Unreadable, zlib.error, ValueError, OverflowError) as error:
        reason = str(error) or "its beginning is that of no such file"
        raise ConfigError(
            f"{path} is not a readable MATLAB v4 or v5 file ({reason}). Write it again, or convert it with "
            f"`ecg-preprocess`"
        ) from None


class _Walk:
    """One v5 file. `taken` counts the bytes that were inflated, `cells` the elements inside cells and structs."""

    def __init__(self, path: str, content: bytes, order: str) -> None:
        self.path, self.content, self.order = path, content, order
        self.taken = self.cells = 0

    def arrays(self, names: tuple[str, ...] | None) -> dict[str, np.ndarray]:
        found = {}
        start = HEADER
        while start < len(self.content):
            data: Any = self.content
            kind, at, size, _ = tag(data, start, self.order)
            start = at + size
            if kind == _COMPRESSED:
                data = self._inflate(memoryview(self.content)[at : at + size])
                kind, at, size, _ = tag(data, 0, self.order)
            if kind == MATRIX:
                name, value = self._matrix(data, at, at + size, 0, names)
                if value is not None:
                    found[name] = value
        return found

    def _inflate(self, data: memoryview) -> np.ndarray:
        """The one element that is deflated in `data`, uint8 [bytes]; its tag says how long it is."""
        stream, head, result, done = zlib.decompressobj(), b"", np.empty(0, np.uint8), 0
        for start in range(0, len(data), _PIECE):
            piece: Any = data[start : start + _PIECE]
            while len(piece) and not stream.eof:
                out = stream.decompress(piece, 2**20)
                piece = stream.unconsumed_tail
                if not len(result):
                    out = head = head + out
                    if len(head) < 8:
                        continue
                    size = 8 + struct.unpack_from(self.order + "II", head)[1]
                    self.taken += size
                    believable(self.taken, len(self.content), f"{self.path}: its compressed content")
                    result = np.empty(size, np.uint8)
                if done + len(out) > len(result) + 8:
                    raise _Unreadable("its compressed content is longer than it says")
                out = out[: len(result) - done]
                result[done : done + len(out)] = np.frombuffer(out, np.uint8)
                done += len(out)
        if done < len(result) or not len(result):
            raise Truncated
        return result

    def _matrix(
        self, data: Any, at: int, end: int, depth: int, names: tuple[str, ...] | None = None
    ) -> tuple[str, np.ndarray | None]:
        """Name and value of a matrix element; None for a kind that is not read and for a name that is not wanted."""
        if depth > DEEPEST:
            raise _Unreadable(f"its cells lie in each other, more than {DEEPEST} deep")
        if at == end:
            return "", np.zeros((0, 0))
        _, place, size, at = tag(data, at, self.order)
        flags = struct.unpack_from(self.order + "I", data, place)[0]
        kind = flags & 0xFF
        if size != 8 or kind not in (_CELL, _STRUCT, _CHAR, *NUMERIC):
            return "", None
        _, place, size, at = tag(data, at, self.order)
        shape = struct.unpack_from(f"{self.order}{size // 4}i", data, place)
        _, place, size, at = tag(data, at, self.order)
        name = bytes(data[place : place + size]).decode("latin-1")
        if (names is not None and name not in names) or len(shape) > 32 or min(shape, default=0) < 0:
            return name, None
        if kind in (_CELL, _STRUCT):
            return name, self._nested(data, at, shape, depth, kind)
        if kind == _CHAR:
            return name, self._text(data, at, shape)
        value, at = self._numbers(data, at, shape)
        return name, value + 1j * self._numbers(data, at, shape)[0] if flags & COMPLEX else value

    def _numbers(self, data: Any, at: int, shape: tuple[int, ...]) -> tuple[np.ndarray, int]:
        """An array as it is stored, and where the next element starts."""
        kind, place, size, following = tag(data, at, self.order)
        if kind not in NUMBERS:
            raise _Unreadable(f"an array has the unknown type {kind}")
        dtype = np.dtype(self.order + NUMBERS[kind])
        if size != math.prod(shape) * dtype.itemsize:
            raise _Unreadable(f"an array of shape {shape} has {size} bytes")
        return np.frombuffer(data, dtype, math.prod(shape), place).reshape(shape, order="F"), following

    def _text(self, data: Any, at: int, shape: tuple[int, ...]) -> np.ndarray:
        """One string per row, as scipy gives them."""
        kind, place, size, _ = tag(data, at, self.order)
        if kind not in _TEXTS or size > LONGEST_TEXT:
            raise _Unreadable(f"a text has the type {kind} and {size} bytes")
        codec = _TEXTS[kind] + ({"<": "-le", ">": "-be"}[self.order] if _TEXTS[kind][-2:] in ("16", "32") else "")
        return _strings(bytes(data[place : place + size]).decode(codec), shape)

    def _nested(self, data: Any, at: int, shape: tuple[int, ...], depth: int, kind: int) -> np.ndarray:
        """A cell as an array of objects, a struct as an array with one field of objects per name."""
        fields: list[str] = []
        if kind == _STRUCT:
            _, place, _, at = tag(data, at, self.order)
            length = struct.unpack_from(self.order + "i", data, place)[0]
            _, place, size, at = tag(data, at, self.order)
            if not 0 < length <= LONGEST_NAME or size > len(data) - place:
                raise _Unreadable("the names of a struct's fields do not fit")
            stored = bytes(data[place : place + size])
            starts = range(0, size - length + 1, length)
            fields = [stored[start : start + length].partition(b"\0")[0].decode("latin-1") for start in starts]
        count = math.prod(shape)
        self.cells += count * max(1, len(fields))
        if self.cells > MOST_CELLS:
            raise _Unreadable(f"its cells and structs have more than {MOST_CELLS} elements")
        result = np.empty(count, [(name, object) for name in fields] if kind == _STRUCT else object)
        for index in range(count):
            for name in fields if kind == _STRUCT else [None]:
                _, place, size, at = tag(data, at, self.order)
                value = self._matrix(data, place, place + size, depth + 1)[1]
                if name is None:
                    result[index] = value
                else:
                    result[name][index] = value
        return result.reshape(shape, order="F")


def tag(data: Any, start: int, order: str = "<") -> tuple[int, int, int, int]:
    """Type, where the data starts, its bytes, where the next one starts; up to 4 bytes sit inside the tag."""
    kind, size = struct.unpack_from(order + "II", data, start)
    if kind >> 16:
        return kind & 0xFFFF, start + 4, kind >> 16, start + 8
    if start + 8 + size > len(data):
        raise Truncated
    return kind, start + 8, size, start + 8 + (size + 7) // 8 * 8


def _read_v4(content: bytes) -> Iterator[tuple[str, np.ndarray]]:
    start = 0
    while start < len(content) or not start:
        if len(content) - start < 20:
            raise Truncated if start else _Unreadable(f"it has {len(content)} bytes")
        order = "<" if struct.unpack_from("<i", content, start)[0] in range(1000) else ">"
        code, rows, columns, imaginary, length = struct.unpack_from(order + "5i", content, start)
        _, _, precision, kind = (code // step % 10 for step in (1000, 100, 10, 1))
        fits = code in (range(1000) if order == "<" else range(1000, 2000)) and precision < 6 and kind < 3
        if not fits or rows < 0 or columns < 0 or not 0 < length <= LONGEST_NAME:
            raise _Unreadable("its beginning is that of no such file")
        name = content[start + 20 : start + 20 + length].partition(b"\0")[0].decode("latin-1")
        dtype = np.dtype(order + _V4_TYPES[precision])
        place = start + 20 + length
        start = place + rows * columns * dtype.itemsize * (2 if imaginary else 1)
        if start > len(content):
            raise Truncated
        parts = np.frombuffer(content, dtype, (start - place) // dtype.itemsize, place)
        value = parts[: rows * columns]
        if kind == 1:
            if value.size > LONGEST_TEXT:
                raise _Unreadable(f"a text has {value.size} letters")
            yield name, _strings("".join(chr(int(code) & 0xFFFF) for code in value), (rows, columns))
        elif kind == 0:
            value = value + 1j * parts[rows * columns :] if imaginary else value
            yield name, value.reshape((rows, columns), order="F")


def _strings(text: str, shape: tuple[int, ...]) -> np.ndarray:
    """A character array, stored column by column -> one string per row."""
    if not text or len(shape) != 2 or math.prod(shape) != len(text):
        return np.array([text] if text else [], dtype=np.str_)
    rows = shape[0]
    return np.array([text[row::rows] for row in range(rows)])
