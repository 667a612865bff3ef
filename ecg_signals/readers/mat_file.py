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
from ecg_signals.limits import read_regular
from ecg_signals.readers.mat_elements import COMPLEX, HEADER, MATRIX, NUMBERS, NUMERIC, Truncated, read_elements, tag

_LITTLE_ENDIAN_V5 = b"\x00\x01IM"  # bytes 124-127
_DTYPES = {code: np.dtype(f"<{name}") for code, name in NUMBERS.items()}
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
        content = read_regular(path)
    except OSError as error:
        raise ConfigError(unreadable(path, error)) from None
    try:
        return _arrays(os.fspath(path), content, names)
    except (Truncated, struct.error):
        raise ConfigError(
            f"{path} is truncated: it holds {len(content)} bytes, and its last array ends behind that. "
            f"Write the file again (ecg-preprocess redoes a file that was deleted)"
        ) from None


def _arrays(path: str, content: bytes, names: tuple[str, ...] | None) -> dict[str, np.ndarray]:
    layout = _layouts.get((len(content), names))
    try:
        if layout is None or not layout.fits(content):
            layout = _parse(content, names)
            if len(_layouts) >= _LAYOUTS_KEPT:
                _layouts.clear()
            _layouts[len(content), names] = layout
        return layout.arrays(content)
    except _Unusual:
        return read_elements(path, content, names)


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
    if len(content) < HEADER:
        raise Truncated if content[:6] == b"MATLAB" else _Unusual
    if content[124:128] != _LITTLE_ENDIAN_V5:
        raise _Unusual
    layout = _Layout([(124, _LITTLE_ENDIAN_V5)], {})
    start = HEADER
    while start < len(content):
        kind, at, size, _ = tag(content, start)
        if kind != MATRIX or at != start + 8:
            raise _Unusual
        _parse_matrix(content, start, names, layout)
        start = at + size
    return layout


def _parse_matrix(content: bytes, start: int, names: tuple[str, ...] | None, layout: _Layout) -> None:
    """Add the element whose tag is at `start`, and its array if it is wanted, to the layout."""
    _, _, flags, _, _, dims_size, rows, columns = _MATRIX_HEAD.unpack_from(content, start + 8)
    if dims_size != 8:
        raise _Unusual
    _, at, size, following = tag(content, start + 40)
    name = content[at : at + size].decode("latin-1")
    kind, at, size, _ = tag(content, following)
    layout.frames.append((start, content[start:at]))
    if names is not None and name not in names:
        return
    if (flags & 0xFF) not in NUMERIC or flags & COMPLEX:
        raise _Unusual
    dtype = _DTYPES.get(kind)
    if dtype is None or size != rows * columns * dtype.itemsize:
        raise _Unusual
    layout.found[name] = (dtype, rows * columns, at, (rows, columns))
