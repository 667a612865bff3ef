"""Reading a fitted estimator's fields out of a joblib file without building it: nothing in the file is executed."""

import pickle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ecg_signals.checkpoint import pickles
from ecg_signals.config import ConfigError

INERT_PACKAGES = ("sklearn.", "numpy.random.")


class ArrayMark(pickles.Inert):
    """Where joblib leaves the pickle: the array's bytes follow in the file."""

    __slots__ = ()
    path = "joblib.numpy_pickle.NumpyArrayWrapper"


class JoblibUnpickler(pickle._Unpickler):
    """Python's own unpickler, which takes names from `pickles.find` and arrays from behind their marks."""

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self.stream = stream

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("joblib.numpy_pickle", "NumpyArrayWrapper"):
            return ArrayMark
        if module.startswith(INERT_PACKAGES):
            return type(name, (pickles.Inert,), {"__slots__": (), "path": f"{module}.{name}"})
        return pickles.find(module, name)

    def load_build(self) -> None:
        super().load_build()  # type: ignore[misc]
        stack: list[Any] = self.stack  # type: ignore[attr-defined]
        if isinstance(stack[-1], ArrayMark):
            stack[-1] = self._read_array(stack[-1].state)

    dispatch[pickle.BUILD[0]] = load_build

    def _read_array(self, state: dict[str, Any]) -> np.ndarray:
        if not isinstance(state["dtype"], pickles.InertDtype):
            raise ConfigError("it holds an array of unknown type")
        dtype, shape = state["dtype"].dtype(), tuple(state["shape"])
        if state.get("numpy_array_alignment_bytes"):
            self.stream.read(self.stream.read(1)[0])
        size = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        raw = self.stream.read(size)
        if len(raw) < size:
            raise ConfigError("it is cut short")
        return np.frombuffer(raw, dtype).reshape(shape, order=state["order"]).copy()


def read_joblib(path: Path) -> dict[str, Any]:
    """The fields of the object in an uncompressed joblib file, arrays as arrays, other objects as dicts.

    Raises: ConfigError when the file is damaged, compressed, or asks for something to be run.
    """
    try:
        with path.open("rb") as stream:
            content = pickles.plain_tree(JoblibUnpickler(stream).load())
    except ConfigError as error:
        raise ConfigError(f"{path} was refused: {error}. Nothing in it was executed.") from None
    except (pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is not an uncompressed joblib file ({type(error).__name__}: {error})") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds a {type(content).__name__}; expected a fitted k-means model")
    return content
