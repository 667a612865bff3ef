"""Memory-mapped arrays with a sidecar header: ours are real .npy, fairseq-signals' have no header of their own."""

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError


def header_path(path: Path) -> Path:
    """Where fairseq-signals keeps shape and dtype of a raw array."""
    return path.with_name(f"{path.stem}_header.pkl")


def create_array(path: Path, shape: tuple[int, ...], dtype: np.dtype, *, raw: bool = False) -> np.memmap:
    """A new array of zeros on disk, with its sidecar {shape, dtype, offset}; `raw` leaves the .npy header out."""
    if raw:
        array = np.memmap(path, dtype=dtype, mode="w+", shape=shape)
    else:
        array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    header = {"shape": tuple(int(size) for size in shape), "dtype": str(np.dtype(dtype)), "offset": int(array.offset)}
    header_path(path).write_bytes(pickle.dumps(header, protocol=2))
    return array


class _PlainUnpickler(pickle.Unpickler):
    """Reads plain containers and numpy dtypes; anything else in a sidecar is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray") and name == "dtype":
            return np.dtype
        if module == "numpy" and name in ("float32", "float64", "float16", "int64", "int32", "bool_"):
            return getattr(np, name)
        raise pickle.UnpicklingError(f"refers to {module}.{name}")


def read_header(path: Path) -> dict[str, Any]:
    """The sidecar {shape, dtype[, offset]} of an array file. Raises: ConfigError when it cannot be read safely."""
    header = header_path(path)
    try:
        values = _PlainUnpickler(io.BytesIO(header.read_bytes())).load()
        return {
            "shape": tuple(values["shape"]),
            "dtype": np.dtype(values["dtype"]),
            "offset": int(values.get("offset", 0)),
        }
    except FileNotFoundError:
        raise ConfigError(f"{header} is missing; it must lie beside {path.name}. Copy both files") from None
    except (pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ConfigError(f"{header} is not a header of shape and dtype ({error}); extract the arrays again") from None


def open_array(path: str | Path, mode: str = "r") -> np.memmap:
    """An array written by us or by fairseq-signals, memory-mapped."""
    path = Path(path)
    with open(path, "rb") as source:
        real = source.read(6) == b"\x93NUMPY"
    if real:
        return np.lib.format.open_memmap(path, mode=mode)
    header = read_header(path)
    expected = int(np.prod(header["shape"])) * header["dtype"].itemsize + header["offset"]
    if path.stat().st_size < expected:
        raise ConfigError(f"{path} has {path.stat().st_size} bytes, but its header says {expected}; the file is cut")
    settings: Any = {"dtype": header["dtype"], "shape": header["shape"], "offset": header["offset"], "mode": mode}
    return np.memmap(path, **settings)


class MemmapReader:
    """`MemmapReader.from_header(path)[...]`, as ECG-FM's scripts read extracted arrays."""

    def __init__(self, array: np.memmap) -> None:
        self.array = array

    @classmethod
    def from_header(cls, path: str | Path) -> "MemmapReader":
        return cls(open_array(path))

    def __getitem__(self, index: Any) -> np.ndarray:
        return self.array[index]

    def __len__(self) -> int:
        return len(self.array)


class MemmapBatchWriter:
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
        dtype: Any = np.float32,
    ) -> None:
        self.array = create_array(Path(file), tuple(shape), np.dtype(dtype), raw=True)
        if header_file is not None and Path(header_file) != header_path(Path(file)):
            header_path(Path(file)).replace(header_file)
        self.transform = transform
        self.written = 0

    def __call__(self, batch: Any) -> None:
        rows = np.asarray(self.transform(batch) if self.transform else batch)
        if self.written + len(rows) > len(self.array):
            raise ValueError(f"{self.written + len(rows)} rows do not fit into an array of {len(self.array)}")
        self.array[self.written : self.written + len(rows)] = rows
        self.written += len(rows)
        self.array.flush()


def memmap_batch_process(
    array: Any, function: Callable[[np.ndarray], Any], batch_size: int, progress: bool = False
) -> list[Any]:
    """`function` of every `batch_size` rows in turn; `progress` shows a bar."""
    starts: Any = range(0, len(array), batch_size)
    if progress:
        from tqdm import tqdm

        starts = tqdm(starts)
    return [function(array[start : start + batch_size]) for start in starts]
