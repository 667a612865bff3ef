"""Arrays in pickle files, which are read without executing anything."""

import os

import numpy as np

from ecg_signals.checkpoint.pickles import Machine
from ecg_signals.checkpoint.plain import plain_tree
from ecg_signals.checkpoint.read import DAMAGED, first_line
from ecg_signals.config import ConfigError
from ecg_signals.limits import FREE_BYTES, size_of

SUFFIXES = (".pkl", ".pickle")


def load_pickled_array(path: str | os.PathLike[str]) -> np.ndarray:
    """The one NumPy array of numbers that a pickle holds, of any protocol.

    Raises: ConfigError naming the file and what it holds instead; OSError when it cannot be opened.
    """
    size = size_of(path)
    if size > FREE_BYTES:
        raise ConfigError(f"{path} has {size:,} bytes; a pickled signal of at most {FREE_BYTES:,} is read: save it "
                          f"with numpy.save")  # fmt: skip
    with open(path, "rb") as file:
        try:
            found = plain_tree(Machine(file).run(), size)
        except ConfigError as error:
            raise ConfigError(
                f"{path} was refused: {error}. Expected a pickled NumPy array of numbers; nothing was executed"
            ) from None
        except DAMAGED as error:
            raise ConfigError(f"{path} is damaged or no pickle ({first_line(error)}); get the file again") from None
    if not isinstance(found, np.ndarray):
        raise ConfigError(f"{path} holds a {type(found).__name__}; expected a pickled NumPy array [leads, samples]")
    return found
