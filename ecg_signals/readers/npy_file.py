"""NumPy's .npy and .npz files: plain numbers only, and exactly as many as the header says."""

import ast
import io
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.limits import MOST_ENTRIES, believable, size_of

HEADER_BYTES = 128  # of a file that `npy_header` begins: room for any shape, which is known at the end
_MAGIC = b"\x93NUMPY"
_LONGEST_HEADER = 10_000  # bytes; what NumPy itself believes of an untrusted file
_KINDS = "biufcSU"  # numbers, truth and text: types that hold no pointer


class _Broken(ValueError):
    """What is wrong with a .npy file."""


_UNZIP_ERRORS = (_Broken, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, struct.error)


def load_npy(path: str | os.PathLike[str], *, mapped: bool = False) -> np.ndarray:
    """The array of a .npy file; memory-mapped and read-only with `mapped`.

    Raises: ConfigError for anything but an ordinary .npy file of plain numbers (or text), for one that is shorter or
        longer than its header says; OSError when it cannot be opened.
    """
    try:
        size_of(path)
        with open(path, "rb") as file:
            shape, fortran, dtype = _read_header(file)
            size, stated = os.fstat(file.fileno()).st_size - file.tell(), math.prod(shape) * dtype.itemsize
            if size != stated:
                raise _Broken(f"its header says {stated} bytes of {dtype} {list(shape)}, and {size} follow")
            if mapped and size:
                order: Any = "F" if fortran else "C"
                return np.memmap(file, dtype, "r", file.tell(), shape, order)
            values = np.fromfile(file, dtype, math.prod(shape))
    except _Broken as error:
        raise ConfigError(f"{path} is truncated or no plain .npy array ({error}); save it with numpy.save") from None
    return values.reshape(shape, order="F" if fortran else "C")


def load_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a .npz file by name.

    Raises: ConfigError as `load_npy`, and for an archive that would become larger than is believable.
    """
    try:
        stored = size_of(path)
        _check_directory(Path(path), stored)
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            believable(sum(entry.file_size for entry in entries), stored, f"{path}: its content")
            found = {}
            for entry in entries:
                with archive.open(entry) as file:
                    found[entry.filename.removesuffix(".npy")] = _read_member(file, entry.file_size)
    except _UNZIP_ERRORS as error:
        raise ConfigError(f"{path} is truncated or no plain .npz file ({error}); save it with numpy.savez") from None
    return found


def map_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a .npz file by name, memory-mapped and read-only: nothing is read before it is used.

    Raises: ConfigError as `load_npz`, and for a compressed file, which can only be read as a whole.
    """
    try:
        _check_directory(Path(path), size_of(path))
        with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise ConfigError(
                    f"{path} is compressed, so that it can only be read whole; store it as it is, with numpy.savez "
                    f"instead of numpy.savez_compressed"
                )
            return {entry.filename.removesuffix(".npy"): _map_member(file, entry) for entry in entries}
    except _UNZIP_ERRORS as error:
        raise ConfigError(f"{path} is truncated or no plain .npz file ({error}); save it with numpy.savez") from None


def npy_header(shape: Sequence[int], dtype: np.dtype) -> bytes:
    """The first HEADER_BYTES of a .npy file."""
    text = repr({"descr": np.dtype(dtype).str, "fortran_order": False, "shape": tuple(int(size) for size in shape)})
    start = _MAGIC + b"\x01\x00" + (HEADER_BYTES - 10).to_bytes(2, "little")
    return start + text.encode().ljust(HEADER_BYTES - 11) + b"\n"


def _map_member(file: BinaryIO, entry: zipfile.ZipInfo) -> np.ndarray:
    file.seek(max(0, entry.header_offset))
    header = file.read(30)
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise _Broken(f"{entry.filename} is not where its list of arrays says")
    start = file.tell() + sum(struct.unpack_from("<HH", header, 26))  # name and extra field lie between
    file.seek(start)
    shape, fortran, dtype = _read_header(file)
    stated, found = math.prod(shape) * dtype.itemsize, entry.file_size - (file.tell() - start)
    if stated != found or file.tell() + stated > os.fstat(file.fileno()).st_size:
        raise _Broken(f"an array of {dtype} {list(shape)} has {found} bytes")
    order: Any = "F" if fortran else "C"
    return np.memmap(file, dtype, "r", file.tell(), shape, order) if stated else np.empty(shape, dtype)


def _check_directory(path: Path, size: int) -> None:
    """An archive lists its files at its end; the length of that list is read before the list is."""
    with open(path, "rb") as file:
        file.seek(max(0, size - 2**16 - 22))
        tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        raise _Broken("it has no end of a zip archive")
    if struct.unpack_from("<I", tail, at + 12)[0] > MOST_ENTRIES * 128:
        raise _Broken(f"it lists more than {MOST_ENTRIES} arrays")


def _read_member(file: Any, size: int) -> np.ndarray:
    stream = io.BytesIO(file.read(size))
    shape, fortran, dtype = _read_header(stream)
    data = stream.getbuffer()[stream.tell() :]
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise _Broken(f"an array of {dtype} {list(shape)} has {len(data)} bytes")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _read_header(file: BinaryIO | Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether columns come first, and type; the file is left at the first value."""
    start = file.read(12)
    if start[:6] != _MAGIC:
        raise _Broken("it does not begin as one")
    if len(start) < 12 or start[6] not in (1, 2, 3):
        raise _Broken("its header is cut or of an unknown version")
    if start[6] == 1:
        length, rest = struct.unpack("<H", start[8:10])[0], start[10:]
    else:
        length, rest = struct.unpack("<I", start[8:12])[0], b""
    if not len(rest) <= length <= _LONGEST_HEADER:
        raise _Broken(f"its header has {length} bytes")
    header = rest + file.read(length - len(rest))
    if len(header) < length:
        raise _Broken("its header is cut")
    return _parse_header(header)


@lru_cache(maxsize=256)
def _parse_header(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    try:
        found = ast.literal_eval(header.decode("utf-8").strip())
        shape, fortran, described = found["shape"], found["fortran_order"], found["descr"]
        dtype = np.dtype(described) if isinstance(described, str) else None
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError, UnicodeDecodeError):
        raise _Broken("its header does not parse") from None
    if dtype is None or dtype.kind not in _KINDS or not dtype.itemsize:
        raise _Broken(f"it holds {str(described)[:40]}, no plain numbers")
    if not isinstance(shape, tuple) or len(shape) > 32 or any(type(size) is not int or size < 0 for size in shape):
        raise _Broken(f"its shape is {str(shape)[:40]}")
    return shape, bool(fortran), dtype
