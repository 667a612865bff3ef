"""A table of ECGs, one row a file, beside its labels: the column `filename`, and label columns last or by name."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecg_signals import tables
from ecg_signals.config import ConfigError, resolve_input
from ecg_signals.registry import hint

if TYPE_CHECKING:
    import pandas


def read_table(path: str | Path) -> "pandas.DataFrame":
    """The CSV with its `filename` column as text. Raises: ConfigError when it has none, no rows, or names one twice."""
    file = resolve_input(path)
    if not file.exists():
        raise ConfigError(f"{file} does not exist; give a CSV with a column 'filename' and the label columns last")
    table = tables.read_table(file, text=["filename"])
    if "filename" not in table.columns:
        raise ConfigError(
            f"{file} has no column 'filename' (found {', '.join(map(str, table.columns[:8]))}); rename one"
        )
    if table.empty:
        raise ConfigError(f"{file} lists no ECG; add one row per .npy file")
    unnamed = np.flatnonzero(table["filename"].isna())
    if len(unnamed):
        raise ConfigError(f"{file} names no file in row {unnamed[0] + 1}; type its name into the column 'filename'")
    twice = table["filename"][table["filename"].duplicated()]
    if len(twice):
        raise ConfigError(
            f"{file} lists {twice.iloc[0]} more than once ({len(twice)} rows too many); remove the duplicates"
        )
    return table


def patient_numbers(table: "pandas.DataFrame") -> np.ndarray | None:
    """[items] a number per patient, of the column `patient_id`; negative, and of the row alone, where unknown."""
    if "patient_id" not in table.columns:
        return None
    numbers = table["patient_id"].factorize()[0]
    return np.where(numbers >= 0, numbers, -1 - np.arange(len(numbers)))


def label_columns(table: "pandas.DataFrame", path: str | Path, named: Sequence[str] | None, start: int) -> list[str]:
    """The label columns: those that are `named`, None: all from number `start` on."""
    columns = list(map(str, table.columns))
    if named is None:
        return columns[start:]
    for name in named:
        if name not in columns:
            guess = hint(name, columns)
            raise ConfigError(f"{path} has no column '{name}'{guess} Set dataset.label_columns to columns it has")
    return list(named)


def label_values(table: "pandas.DataFrame", path: str | Path, columns: Sequence[str], kind: str) -> np.ndarray:
    """[items, columns] float64, NaN = unknown. Raises: ConfigError for other values than the `kind` of task takes."""
    if kind != "multi_label" and len(columns) != 1:
        raise ConfigError(
            f"{path} has {len(columns)} label columns ({', '.join(columns[:4])} ...), but "
            f"dataset.task_type={kind} takes one; set dataset.label_columns=[NAME] or dataset.label_start_index"
        )
    try:
        values = table[list(columns)].to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{path}: columns {columns[0]} ... {columns[-1]} are not all numbers ({error}); set "
            f"dataset.label_start_index (now {list(table.columns).index(columns[0])}) to the number of columns before "
            f"them"
        ) from None
    known = values[~np.isnan(values)]
    if kind == "multi_label" and not np.isin(known, (0.0, 1.0)).all():
        raise ConfigError(f"{path}: labels other than 0 and 1 with dataset.task_type=multi_label; correct the type")
    if kind == "multi_class" and ((known != np.round(known)).any() or (known < 0).any() or len(known) < len(values)):
        raise ConfigError(f"{path}: column {columns[0]} must hold class numbers 0, 1, 2 ... in every row")
    return values
