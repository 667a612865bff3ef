"""MATLAB v4 and v5 files: their arrays by name, as scipy.io.loadmat gives them.

Files of plain numeric arrays take a quick way; compressed ones, text, cells and structs are walked through. Neither
takes memory for a size that the file states without the bytes for it, and nesting ends at a stated depth.
"""

import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.limits import size_of
from ecg_signals.readers.mat_elements import Truncated, read_elements

_HEADER = 128  # bytes of text, version and byte order before the first element
_LITTLE_ENDIAN_V5 = b"\x00\x01IM"  # bytes 124-127
_MATRIX = 14  # miMATRIX, of the MAT-file format's data types
_TYPES = {1: "<i1", 2: "<u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}
_DTYPES = {code: np.dtype(name) for code, name in _TYPES.items()}
_NUMERIC_CLASSES = range(6, 16)  # double, single, int8 ... uint64
_COMPLEX = 0x0800  # flag of a matrix with imaginary parts
_TWO = struct.Struct("<II")
_MATRIX_HEAD = struct.Struct("<IIIIIIii")  # flags tag, flags, dimensions tag, rows, columns


class _Unusual(Exception):
    """Something that the quick way leaves to `read_elements`: compressed, text, cell, struct, complex, not 2-D."""


def read_mat_arrays(path: str | os.PathLike[str], names: tuple[str, ...] | None = None) -> dict[str, np.ndarray]:
    """The arrays of a .mat file by name, as scipy.io.loadmat gives them; read-only and in the file's dtype.

    Args:
        path: a MATLAB v4 or v5 file, compressed or not.
        names: the variables wanted, None for all; those that the file lacks are left out.
    Raises: ConfigError naming the file when it is missing, truncated or no .mat file.
    """
    try:
        content = _read_bytes(path)
    except OSError as error:
        raise ConfigError(unreadable(path, error)) from None
    layout = _layouts.get((len(content), names))
    try:
        if layout is None or not layout.fits(content):
            layout = _parse(content, names)
            if len(_layouts) >= _LAYOUTS_KEPT:
                _layouts.clear()
            _layouts[len(content), names] = layout
        return layout.arrays(content)
    except _Unusual:
        pass
    except (Truncated, struct.error):
        raise _cut(path, content) from None
    try:
        return read_elements(os.fspath(path), content, names)
    except (Truncated, struct.error):
        raise _cut(path, content) from None


def _cut(path: str | os.PathLike[str], content: bytes) -> ConfigError:
    return ConfigError(
        f"{path} is truncated: it holds {len(content)} bytes, and its last array ends behind that. "
        f"Write the file again (ecg-preprocess redoes a file that was deleted)"
    )


def _read_bytes(path: str | os.PathLike[str]) -> bytes:
    size_of(path)
    handle = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(handle).st_size
        content = os.read(handle, size)
        while len(content) < size and (more := os.read(handle, size - len(content))):
            content += more
        return content
    finally:
        os.close(handle)


def unreadable(path: str | os.PathLike[str], error: OSError) -> str:
    """The message for a file that cannot be opened: the nearest folder that exists is named."""
    if not isinstance(error, FileNotFoundError):
        return f"{path} cannot be read: {error.strerror or error}"
    folder = Path(path).parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return f"{path} does not exist (the folder {folder} does). Line 1 of the manifest is the root that its paths follow"


@dataclass
class _Layout:
    """Where the arrays of a file lie. Files written alike share it: whatever is not an array's data is compared."""

    frames: list[tuple[int, bytes]]  # every element's tags and name, with their place
    found: dict[str, tuple[np.dtype, int, int, tuple[int, int]]]  # name -> dtype, items, place, shape

    def fits(self, content: bytes) -> bool:
        return all(content.startswith(frame, start) for start, frame in self.frames)

    def arrays(self, content: bytes) -> dict[str, np.ndarray]:
        return {
            name: np.frombuffer(content, dtype, items, start).reshape(shape, order="F")
            for name, (dtype, items, start, shape) in self.found.items()
        }


_layouts: dict[tuple[int, tuple[str, ...] | None], _Layout] = {}
_LAYOUTS_KEPT = 64  # files of one data set have a few


def _parse(content: bytes, names: tuple[str, ...] | None) -> _Layout:
    if len(content) < _HEADER:
        raise Truncated if content[:6] == b"MATLAB" else _Unusual
    if content[124:128] != _LITTLE_ENDIAN_V5:
        raise _Unusual
    layout = _Layout([(124, _LITTLE_ENDIAN_V5)], {})
    start = _HEADER
    while start < len(content):
        kind, size = _TWO.unpack_from(content, start)
        if start + 8 + size > len(content):
            raise Truncated
        if kind != _MATRIX:
            raise _Unusual
        _parse_matrix(content, start, names, layout)
        start += 8 + size
    return layout


def _parse_matrix(content: bytes, start: int, names: tuple[str, ...] | None, layout: _Layout) -> None:
    """Add the element whose tag is at `start`, and its array if it is wanted, to the layout."""
    _, _, flags, _, _, dims_size, rows, columns = _MATRIX_HEAD.unpack_from(content, start + 8)
    if dims_size != 8:
        raise _Unusual
    _, size, at, following = _element(content, start + 40)
    name = content[at : at + size].decode("latin-1")
    kind, size, at, _ = _element(content, following)
    layout.frames.append((start, content[start:at]))
    if names is not None and name not in names:
        return
    if (flags & 0xFF) not in _NUMERIC_CLASSES or flags & _COMPLEX:
        raise _Unusual
    dtype = _DTYPES.get(kind)
    if dtype is None or size != rows * columns * dtype.itemsize:
        raise _Unusual
    layout.found[name] = (dtype, rows * columns, at, (rows, columns))


def _element(content: bytes, start: int) -> tuple[int, int, int, int]:
    """Type, bytes, where the data starts, where the next element starts; up to 4 bytes sit inside the tag."""
    kind, size = _TWO.unpack_from(content, start)
    if kind >> 16:
        return kind & 0xFFFF, kind >> 16, start + 4, start + 8
    if start + 8 + size > len(content):
        raise Truncated
    return kind, size, start + 8, start + 8 + (size + 7) // 8 * 8
