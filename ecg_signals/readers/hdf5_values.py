"""Values of an HDF5 dataset, read so that the file cannot make more of them than it stores.

The HDF5 library allocates what shapes and chunks say, follows links into other files, and inflates a chunk for as long
as its stream goes on. So datasets and their chunks are looked at before they are read.

h5py's low-level objects are used: of a record of 10 s, File and Dataset take as long as all that is done here.
"""

import itertools
import math
import os
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.limits import FREE_BYTES, MOST_CHUNKS, believable

_DEFLATE, _LZF = 1, 32000  # filters as HDF5 numbers them
_GAINS = {_DEFLATE: 1032, _LZF: 88}  # bytes that one byte of a stream can become
_HARMLESS = (2, 3)  # shuffled bytes, a checksum
_CHUNKED = 2  # a layout as HDF5 numbers it


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The HDF5 file as h5py's FileID, closed with the last dataset of it. Raises: OSError if it is none."""
    from h5py import h5f

    file = h5f.open(os.fsencode(path), h5f.ACC_RDONLY)
    try:
        yield file
    finally:
        file.close()


def stored_dataset(path: Path, file: Any, name: str, dimensions: int) -> Any:
    """The dataset `name` of an open file, as h5py's DatasetID. Nothing is read.

    Raises: ConfigError for a link, for values that lie in other files, and for anything but stored numbers.
    """
    from h5py import h5d, h5l

    if file.links.get_info(name.encode()).type != h5l.TYPE_HARD:
        raise ConfigError(f"{path}: '{name}' is a link to another place; store the values in the file itself")
    try:
        data = h5d.open(file, name.encode())
    except (KeyError, TypeError, ValueError):
        raise ConfigError(f"{path}: '{name}' is no array; expected numbers with {dimensions} dimensions") from None
    shape, dtype, created = data.shape, data.dtype, data.get_create_plist()
    if not shape or len(shape) != dimensions or dtype.kind not in "fiu":
        raise ConfigError(f"{path}: '{name}' is {dtype} {shape}; expected numbers with {dimensions} dimensions")
    if created.get_layout() == h5d.VIRTUAL or created.get_external_count():
        raise ConfigError(f"{path}: '{name}' has its values in other files; store them in the file itself")
    if not math.prod(shape) or not data.get_storage_size():
        raise ConfigError(f"{path}: '{name}' is empty: no values are stored for its shape {shape}")
    return data


def read_rows(path: Path, data: Any, row: int | None = None) -> np.ndarray:
    """All of what `stored_dataset` found, or one row of it. What is not stored is NaN (0 for integers), with a warning.

    Raises: ConfigError for sizes that the file does not hold, for chunks that become larger than they say, and for
        compression other than gzip.
    """
    shape, dtype, created = data.shape, data.dtype, data.get_create_plist()
    wanted = shape if row is None else shape[1:]
    chunks = created.get_chunk() if created.get_layout() == _CHUNKED else None
    size = math.prod(wanted) * dtype.itemsize
    chunk = math.prod(chunks) * dtype.itemsize if chunks else 0
    storage = min(data.get_storage_size(), os.path.getsize(path))
    believable(size + chunk, storage, f"{path}: its values")
    absent = []
    if chunks:
        what = f"{path}: {_name(data)}"
        gain = _check_filters(what, created)
        every = math.prod(-(-length // step) for length, step in zip(shape, chunks))
        if storage * gain > FREE_BYTES or data.get_num_chunks() < every:
            spans = [(0, shape[0]) if row is None else (row, row + 1), *((0, length) for length in shape[1:])]
            grid = [range(low // step * step, high, step) for (low, high), step in zip(spans, chunks)]
            absent = _check_chunks(what, data, grid, chunk, gain)
    values = _read(data, row, wanted)
    for place in absent:
        values[place if row is None else place[1:]] = np.nan if values.dtype.kind == "f" else 0
    if absent:
        found = f"{len(absent)} chunks of {_name(data)} are not stored"
        warnings.warn(f"{path}: {found}; is the file whole?", stacklevel=6)
    return values


def _read(data: Any, row: int | None, wanted: tuple[int, ...]) -> np.ndarray:
    from h5py import h5s

    values, space = np.empty(wanted, data.dtype), data.get_space()
    if row is not None:
        space.select_hyperslab((row, *(0 for _ in wanted)), (1, *wanted))
    data.read(h5s.create_simple(wanted), space, values)
    return values


def _name(data: Any) -> str:
    from h5py import h5i

    return h5i.get_name(data).decode("utf-8", "replace")[1:]


def _check_filters(what: str, created: Any) -> int:
    """How many bytes one stored byte can become. Raises: ConfigError for a filter whose result has no such bound."""
    filters = [created.get_filter(index)[0] for index in range(created.get_nfilters())]
    compressing = [kind for kind in filters if kind in _GAINS]
    if len(compressing) > 1 or set(filters) - {*_GAINS, *_HARMLESS}:
        raise ConfigError(f"{what} is compressed in a way that is not read; copy the file with h5repack -f GZIP=4")
    return _GAINS[compressing[0]] if compressing else 1


def _check_chunks(what: str, data: Any, grid: list[range], size: int, gain: int) -> list[tuple[slice, ...]]:
    """The places of chunks that are not stored; the others are found to hold no more than `size` bytes.

    Args:
        grid: where the chunks begin, along each axis.
        gain: bytes that one stored byte can become; only chunks that could become large are inflated to see.
    """
    if (count := math.prod(map(len, grid))) > MOST_CHUNKS:
        found = f"{what} lies in {count} chunks; at most {MOST_CHUNKS} are believed"
        raise ConfigError(f"{found} (docs/limits.md). Store it in larger ones")
    absent = []
    for corner in itertools.product(*grid):
        info = data.get_chunk_info_by_coord(corner)
        if info.byte_offset is None or not info.size:
            absent.append(tuple(slice(at, at + steps.step) for at, steps in zip(corner, grid)))
        elif gain > 1 and info.size * gain > FREE_BYTES and not _ends(data.read_direct_chunk(corner)[1], size, gain):
            raise ConfigError(f"{what} has a chunk that becomes more than its {size} bytes; store it with gzip")
    return absent


def _ends(raw: bytes, size: int, gain: int) -> bool:
    """Whether a deflated chunk ends within `size` bytes and a checksum of four; unknown for other compression."""
    try:
        return gain == _GAINS[_DEFLATE] and len(zlib.decompressobj().decompress(raw, size + 5)) <= size + 4
    except zlib.error:  # stored without compression, or broken, which the HDF5 library will say
        return True
