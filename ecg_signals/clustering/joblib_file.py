"""Reading a fitted estimator's fields out of a joblib file without building it: nothing in the file is executed."""

import math
import mmap
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.checkpoint.archive import Mapped
from ecg_signals.checkpoint.names import Inert, Name, PendingDtype
from ecg_signals.checkpoint.pickles import Machine
from ecg_signals.checkpoint.plain import plain_tree
from ecg_signals.checkpoint.read import DAMAGED
from ecg_signals.config import ConfigError
from ecg_signals.limits import regular_file

INERT_PACKAGES = ("sklearn.", "numpy.random.")
ARRAY = "joblib.numpy_pickle.NumpyArrayWrapper"


class JoblibMachine(Machine):
    """A pickle machine that takes arrays from behind their marks, where joblib leaves the pickle for their bytes."""

    def name(self, module: str, name: str) -> Name:
        if module.startswith(INERT_PACKAGES) and name.isidentifier() and module.isprintable():
            return Name(module, name)
        return super().name(module, name)

    def built(self, record: Inert) -> Any:
        return self._array(record.state) if record.path == ARRAY else record

    def _array(self, state: dict[str, Any]) -> np.ndarray:
        shape, padded = tuple(state["shape"]), state.get("numpy_array_alignment_bytes")
        if not isinstance(state["dtype"], PendingDtype) or any(type(count) is not int or count < 0 for count in shape):
            raise ConfigError("it holds an array of unknown type")
        if padded:
            self.file.read(self.file.read(1)[0])
        dtype = state["dtype"].dtype()
        size = dtype.itemsize * math.prod(shape)
        if self.file.tell() + size > self.size:
            raise EOFError("it is cut short")
        raw = mmap.mmap.read(self.file, size)
        return np.frombuffer(raw, dtype).reshape(shape, order=state["order"])


def read_joblib(path: Path) -> dict[str, Any]:
    """The fields of the object in an uncompressed joblib file, arrays as arrays, other objects as dicts.

    Raises: ConfigError when the file is damaged, compressed, or asks for something to be run.
    """
    try:
        with regular_file(path).open("rb") as stream, Mapped(stream.fileno(), 0, access=mmap.ACCESS_READ) as source:
            content = plain_tree(JoblibMachine(source).run(), len(source))
    except ConfigError as error:
        raise ConfigError(f"{path} was refused: {error}. Nothing in it was executed.") from None
    except DAMAGED as error:
        raise ConfigError(f"{path} is not an uncompressed joblib file ({type(error).__name__}: {error})") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds a {type(content).__name__}; expected a fitted k-means model")
    return content
