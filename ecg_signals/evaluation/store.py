"""Memory-mapped arrays with a sidecar header: ours are real .npy, fairseq-signals' have no header of their own."""

import io
import math
import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.checkpoint.names import Name, PendingDtype
from ecg_signals.checkpoint.pickles import Machine
from ecg_signals.checkpoint.plain import plain_tree
from ecg_signals.checkpoint.read import DAMAGED
from ecg_signals.config import ConfigError
from ecg_signals.files import replacing
from ecg_signals.limits import read_regular, regular_file, shown
from ecg_signals.readers.npy_file import load_npy
from ecg_signals.runtime.collectives import barrier, rank

_HEADER_BYTES = 1 << 16  # of a sidecar


def header_path(path: Path) -> Path:
    """Where fairseq-signals keeps shape and dtype of a raw array."""
    return path.with_name(f"{path.stem}_header.pkl")


def create_array(path: Path, shape: tuple[int, ...], dtype: np.dtype, *, raw: bool = False) -> np.memmap:
    """A new array of zeros on disk, with its sidecar {shape, dtype, offset}; `raw` leaves the .npy header out.

    Its space is reserved: on a full disk, a file with holes would end the process at some later assignment.
    Raises: CannotWrite when there is no room.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    with replacing(path, needed=size) as partial:
        if raw:
            array = np.memmap(partial, dtype=dtype, mode="w+", shape=shape)
        else:
            array = np.lib.format.open_memmap(partial, mode="w+", dtype=dtype, shape=shape)
        offset = int(array.offset)
        del array
        _reserve(partial)
    header = {"shape": tuple(int(size) for size in shape), "dtype": str(np.dtype(dtype)), "offset": offset}
    with replacing(header_path(path)) as partial:
        partial.write_bytes(pickle.dumps(header, protocol=2))
    return np.memmap(path, dtype=dtype, mode="r+", shape=shape, offset=offset)


def shared_array(path: Path, shape: tuple[int, ...], dtype: np.dtype, *, raw: bool = False) -> np.memmap:
    """`create_array` by the first rank, opened by all of them, who write rows of their own."""
    if rank() == 0:
        create_array(path, shape, dtype, raw=raw)
    barrier()
    return open_array(path, mode="r+")


def _reserve(path: Path) -> None:
    """Give every byte of a file a place on the disk. Raises: OSError when there is no room."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
            return
        header = file.read(1 << 12)
        file.seek(0)
        for start in range(0, size, 1 << 20):
            file.write((header if start == 0 else b"").ljust(min(1 << 20, size - start), b"\0"))
        os.fsync(file.fileno())


class _HeaderMachine(Machine):
    """Reads a sidecar, which may hold numpy's classes of numbers."""

    def name(self, module: str, name: str) -> Name:
        return Name(module, name) if module == "numpy" and name in _NUMBERS else super().name(module, name)


_NUMBERS = {np.dtype(kind).type.__name__ for kind in np.typecodes["All"] if np.dtype(kind).kind in "biufc"}


def read_header(path: Path, header_file: str | Path | None = None) -> dict[str, Any]:
    """The sidecar {shape, dtype[, offset]} of an array file; its pickle is looked at, never unpickled.

    Raises: ConfigError when it is missing, too large, or anything but sizes and a type of plain numbers.
    """
    header = Path(header_file) if header_file is not None else header_path(path)
    if not header.exists():
        raise ConfigError(f"{header} is missing; it must lie beside {path.name}. Copy both files")
    try:
        content = read_regular(header, _HEADER_BYTES)
        stored = _HeaderMachine(io.BytesIO(content)).run()
        dtype = stored["dtype"].dtype() if isinstance(stored["dtype"], PendingDtype) else None  # with its byte order
        values = plain_tree(stored, len(content))
        shape, offset = tuple(values["shape"]), values.get("offset", 0)
        if any(type(size) is not int or size < 0 for size in (*shape, offset)) or len(shape) > 64:
            raise ValueError("its sizes are no whole numbers from 0 up")
        name = str(values["dtype"]).removeprefix("numpy.")
        dtype = dtype or (np.dtype(name) if len(name) < 32 else np.dtype(object))
        if dtype.kind not in "biufc":
            raise ValueError(f"its type {shown(name)} is not one of plain numbers")
        return {"shape": shape, "dtype": dtype, "offset": offset}
    except (ConfigError, *DAMAGED) as error:
        raise ConfigError(f"{header} is not a header of shape and dtype: {error}. Extract again") from None


def open_array(
    path: str | Path,
    mode: str = "r",
    header_file: str | Path | None = None,
    stated: dict[str, Any] | None = None,
) -> np.memmap:
    """An array written by us or by fairseq-signals, memory-mapped.

    Args:
        header_file: a sidecar that lies elsewhere than beside it.
        stated: {shape, dtype, offset} instead of a sidecar.
    Raises: ConfigError for a file that holds fewer bytes than are stated, or more (with a .npy header).
    """
    path = regular_file(path)
    with path.open("rb") as source:
        real = source.read(6) == b"\x93NUMPY"
    if real:
        load_npy(path, mapped=True)  # holds the header against the bytes that follow
        return np.lib.format.open_memmap(path, mode=mode)
    header = stated or read_header(path, header_file)
    expected = math.prod(header["shape"]) * header["dtype"].itemsize + header["offset"]
    if path.stat().st_size < expected:
        raise ConfigError(f"{path} has {path.stat().st_size} bytes, but its header says {expected}; the file is cut")
    if path.stat().st_size > expected:
        text = f"{path} has {path.stat().st_size} bytes, but its header accounts for {expected}"
        warnings.warn(f"{text}; the rest is left out", stacklevel=2)
    settings: Any = {"dtype": header["dtype"], "shape": header["shape"], "offset": header["offset"], "mode": mode}
    return np.memmap(path, **settings)


class MemmapReader:
    """An array on disk, read as needed: `MemmapReader.from_header(path)[...]`, as ECG-FM's scripts do.

    Args:
        file: path of the array.
        shape: of a headerless file, None to take it from the file or its sidecar.
        dtype: element type of a headerless file; counts where `shape` is given.
        header_file: path of the sidecar; None: `<stem>_header.pkl` beside the array.
    Raises: ConfigError when `shape` is given and the file holds another one, or fewer bytes.
    """

    def __init__(
        self,
        file: str | Path,
        shape: tuple[int, ...] | None = None,
        dtype: Any = "float32",
        header_file: str | Path | None = None,
    ) -> None:
        stated = None if shape is None else {"shape": tuple(shape), "dtype": np.dtype(dtype), "offset": 0}
        array = open_array(file, header_file=header_file, stated=stated)
        if stated is not None and array.shape != stated["shape"]:
            raise ConfigError(f"{file} holds an array of {array.shape}, not of {stated['shape']}; leave `shape` out")
        self._show(array, file, header_file)

    @classmethod
    def from_header(cls, file: str | Path, header_file: str | Path | None = None) -> "MemmapReader":
        return cls(file, header_file=header_file)

    def _show(self, array: np.memmap, file: str | Path, header_file: str | Path | None) -> None:
        self.array = array
        self.file, self.header_file = str(file), str(header_file or header_path(Path(file)))
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        return self.array[index]

    def __len__(self) -> int:
        return len(self.array)


class MemmapBatchWriter(MemmapReader):
    """Appends batches to a headerless memmap of known shape, with its sidecar; ECG-FM's scripts write with it.

    Args:
        file: path of the array.
        shape: shape of the whole array.
        transform: applied to every batch before it is written, None for none.
        header_file: path of the sidecar; None: `<stem>_header.pkl` beside the array.
        dtype: element type on disk.
    """

    def __init__(
        self,
        file: str | Path,
        shape: tuple[int, ...],
        transform: Callable[[Any], Any] | None = None,
        header_file: str | Path | None = None,
        dtype: Any = "float32",
    ) -> None:
        array = create_array(Path(file), tuple(shape), np.dtype(dtype), raw=True)
        if header_file is not None and Path(header_file) != header_path(Path(file)):
            header_path(Path(file)).replace(header_file)
        self._show(array, file, header_file)
        self.transform = transform
        self.total_n, self.n = len(array), 0  # rows there is room for, rows written

    def __call__(self, batch: Any) -> None:
        rows = np.asarray(self.transform(batch) if self.transform else batch)
        if self.n + len(rows) > self.total_n:
            raise ValueError(f"{self.n + len(rows)} rows do not fit into an array of {self.total_n}")
        self.array[self.n : self.n + len(rows)] = rows
        self.n += len(rows)
        self.array.flush()

    def close(self) -> None:
        """Everything is on disk already; scripts of others call this."""
        self.array.flush()


def memmap_batch_process(
    array: Any, func: Callable[..., Any], batch_size: int, progress: bool = False, **func_kwargs: Any
) -> Any:
    """`func(rows, **func_kwargs)` of every `batch_size` rows in turn; `progress` shows a bar.

    Returns: the results, joined along their first dimension; None when `func` returns nothing, as a writer does.
    """
    starts: Any = range(0, max(len(array), 1), batch_size)
    if progress:
        from tqdm import tqdm

        starts = tqdm(starts)
    results = [func(array[start : start + batch_size], **func_kwargs) for start in starts]
    return None if all(result is None for result in results) else np.concatenate(results)
