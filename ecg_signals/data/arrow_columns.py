"""Columns of mapped Arrow files as NumPy arrays, without copies, and without pandas, which pyarrow would import."""

from typing import Any

import numpy as np

TYPES = {"int32": np.int32, "int64": np.int64, "float": np.float32, "double": np.float64}


def numbers_of(column: Any) -> np.ndarray:
    """The values of a column of numbers; those of missing ones are whatever stands there.

    Raises: ValueError where its buffer is shorter than it says.
    """
    dtype = np.dtype(TYPES[str(column.type)])
    if not len(column):
        return np.empty(0, dtype)
    return np.frombuffer(column.buffers()[1], dtype, len(column), column.offset * dtype.itemsize)
