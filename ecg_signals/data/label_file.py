"""`y.npy` and the label names beside it."""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ecg_signals.config import ConfigError, listed, resolve_input
from ecg_signals.readers.npy_file import load_npy
from ecg_signals.tables import read_rows

NAMES = "label_def.csv"
_ROWS = 1 << 14  # of the table, read at once
Test = Callable[[np.ndarray], np.ndarray]  # float64 [records, labels] -> bool


class LabelFile:
    """A table of labels, [records, labels]; row = `idx` of a signal file. NaN means unknown.

    Args:
        path: the .npy file.
        columns: which columns `row` and `names` give, in which order; None: all as they stand.
    Attributes:
        names: from `label_def.csv` beside the file, None without one.
    Raises: ConfigError when the file is missing or no table, or when the names do not equal the columns in number.
    """

    def __init__(self, path: str | os.PathLike[str], columns: Sequence[int] | None = None) -> None:
        self.path = resolve_input(path)
        self.columns = None if columns is None else list(columns)
        try:
            self.table = load_npy(self.path, mapped=True)
        except FileNotFoundError:
            raise ConfigError(f"task.label_file={path} does not exist; make it with `ecg-preprocess labels`") from None
        except OSError as error:
            raise ConfigError(f"task.label_file={path} cannot be read: {error.strerror}; check the path") from None
        if self.table.ndim != 2 or self.table.dtype.kind not in "biuf":
            found = f"{self.table.dtype} of shape {list(self.table.shape)}"
            raise ConfigError(f"task.label_file={path} is {found}; expected numbers [records, labels]")
        names = self._names()
        self.names = names if names is None or columns is None else [names[column] for column in columns]

    @property
    def num_labels(self) -> int:
        """How many labels a row has."""
        return self.table.shape[1] if self.columns is None else len(self.columns)

    def select(self, columns: Sequence[int]) -> "LabelFile":
        """The same table with these of its present columns, in this order."""
        chosen = columns if self.columns is None else [self.columns[column] for column in columns]
        return LabelFile(self.path, chosen)

    def _names(self) -> list[str] | None:
        path = self.path.with_name(NAMES)
        if not path.is_file():
            return None
        names = read_label_names(path)
        if len(names) != self.table.shape[1]:
            raise ConfigError(
                f"{path} names {len(names)} labels, but {self.path} has {self.table.shape[1]} columns; both must come "
                f"from one run of `ecg-preprocess labels`"
            )
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(f"{path} names {listed(twice)} more than once; give every label a name of its own")
        return names

    def __reduce__(self) -> tuple[type["LabelFile"], tuple[Path, list[int] | None]]:
        return LabelFile, (self.path, self.columns)

    def __len__(self) -> int:
        return len(self.table)

    def known(self) -> np.ndarray:
        """[labels] how many records have a known value of each label."""
        counts = sum(
            (~np.isnan(self.table[start : start + _ROWS])).sum(axis=0) for start in range(0, len(self.table), _ROWS)
        ) + np.zeros(self.table.shape[1], dtype=np.int64)
        return counts if self.columns is None else counts[self.columns]

    def values_that_are(self, wrong: Test) -> np.ndarray:
        """As the function below, of the columns that `row` gives."""
        found = values_that_are(wrong, self.table)
        return found if self.columns is None else found[self.columns]

    def digests(self) -> dict[str, str]:
        """As `column_digests`, of the columns that `row` gives."""
        columns = range(self.table.shape[1]) if self.columns is None else self.columns
        return column_digests(self.table, list(columns), self.names)

    def row(self, idx: int | None, path: str) -> np.ndarray:
        """float32 [labels] of record `idx`. Raises: ConfigError naming the signal file whose record has no row."""
        if idx is None or not 0 <= idx < len(self.table):
            found = "no idx" if idx is None else f"idx {idx}"
            raise ConfigError(
                f"{path} holds {found}, but {self.path} has rows 0 to {len(self.table) - 1}; label file and signals "
                f"must come from one run of `ecg-preprocess`"
            )
        row = np.array(self.table[idx], dtype=np.float32)
        return row if self.columns is None else row[self.columns]


def values_that_are(wrong: Test, table: np.ndarray) -> np.ndarray:
    """[labels] a value of each column of [records, labels] that is `wrong`, NaN where none is."""
    found = np.full(table.shape[1], np.nan)
    for start in range(0, len(table), _ROWS):
        part = np.asarray(table[start : start + _ROWS], dtype=np.float64)
        hits = wrong(part)
        for column in np.flatnonzero(hits.any(axis=0)):
            found[column] = part[hits[:, column], column][0]
    return found


def column_digests(table: np.ndarray, columns: list[int], names: Sequence[str] | None) -> dict[str, str]:
    """Name of each column (its place, without names) -> 16 digits that change with its values, not with their type."""
    found = [hashlib.blake2b(digest_size=8) for _ in columns]
    for start in range(0, len(table), _ROWS):
        part = np.array(table[start : start + _ROWS], dtype=np.float32)[:, columns] + 0.0  # no -0.0
        part[np.isnan(part)] = np.nan  # there are many of them
        for digest, values in zip(found, part.T):
            digest.update(values.tobytes())
    return {str(name): one.hexdigest() for name, one in zip(names or range(len(columns)), found)}


def read_label_names(path: Path) -> list[str]:
    """The column `name` (or the first one) of a label_def.csv, in order."""
    header, *rows = read_rows(path)
    column = header.index("name") if "name" in header else 0
    return [row[column] for row in rows]
