"""Bare arrays (.npy) and text tables (.csv, .tsv, .txt) with one column per lead."""

import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError, nearest
from ecg_signals.limits import LONGEST_LINE, LONGEST_NAME, MOST_COMMENTS, MOST_SIGNALS
from ecg_signals.readers.base import Reader
from ecg_signals.readers.npy_file import load_npy
from ecg_signals.readers.stated import Stated, array_record
from ecg_signals.readers.units import voltage_factor
from ecg_signals.registry import register_reader
from ecg_signals.signal.leads import LEADS, OTHER_LEADS, upright_lead
from ecg_signals.signal.record import Record

_TIMES = {"time": 1.0, "t": 1.0, "seconds": 1.0, "time_s": 1.0, "time_ms": 1e-3, "ms": 1e-3}  # column: seconds per unit
_COUNTERS = ("", "index", "sample", "samples", "frame", "n", "unnamed: 0")
_UNITS = re.compile(r"(?P<name>.*?)[\s_]*[(\[](?P<units>[^)\]]+)[)\]]\s*$")


@register_reader("npy")
class NpyReader(Reader):
    """NumPy arrays, one per file."""

    suffixes = (".npy",)

    def sniff(self, head: bytes) -> bool:
        return head.startswith(b"\x93NUMPY")

    def read(self, found: Path, id: int | str | None, stated: Stated) -> Record:
        """An array [leads, samples] or [samples, leads]; twelve unnamed leads are in the standard order."""
        return array_record(found, load_npy(found), stated, {}, comments=[])


@register_reader("table")
class TableReader(Reader):
    """Text tables with one column per lead and one row per sample."""

    suffixes = (".csv", ".tsv", ".txt")

    def read(self, found: Path, id: int | str | None, stated: Stated) -> Record:
        """A first row of names gives the leads, with units as in "V1 (uV)".

        A column `time` (seconds; `time_ms` milliseconds) gives the rate, as do lines "# sample_rate: 500" and
        "# units: uV"; a sample counter is left out. Separators: comma, semicolon, tab or blanks. An empty cell is NaN.
        """
        return _read_table(found, stated)


def _read_table(path: Path, stated: Stated) -> Record:
    import pandas as pd

    comments, start, first, second = _beginning(path)
    separator = next((mark for mark in "\t;," if mark in first), None)
    single = not separator and len(second.split()) == 1  # one column, whose name may have blanks
    cells = [cell.strip().strip('"') for cell in ([first] if single else first.split(separator))]
    if len(cells) > MOST_SIGNALS:
        raise ConfigError(f"{path} has {len(cells)} columns; at most {MOST_SIGNALS} are believed (docs/limits.md)")
    named = not all(_is_number(cell) for cell in cells)
    decimal = "," if separator == ";" and "," in (second if named else first) else "."
    if decimal == "," and not named:
        named = not all(_is_number(cell.replace(",", ".")) for cell in cells)
    try:
        table = pd.read_csv(
            path, sep=separator or r"\s+", decimal=decimal, skiprows=start + named, header=None, skip_blank_lines=True
        )
    except (ValueError, OSError, OverflowError) as error:
        raise ConfigError(f"{path} is no table of numbers ({error}); expected one column per lead") from error
    if named and table.shape[1] != len(cells):
        raise ConfigError(f"{path} has {len(cells)} names over {table.shape[1]} columns; give each column one name")
    values = _numbers(path, table, cells if named else None)
    said = dict(line.split(":", 1) for line in comments if ":" in line)
    said = {key.strip().lower(): value.strip() for key, value in said.items()}
    own = Stated(_rate(path, said), None, said.get("units"))
    if named:
        values, columns = _lead_columns(path, values, cells, stated.leads)
        own = columns.over(own)
        if columns.units is not None:  # the columns are in mV by now, whatever the rest of the file and the caller say
            own, stated = replace(own, units=None), replace(stated, units=None)
    return array_record(path, values, own.with_caller(path, stated), said, comments=comments)


def _beginning(path: Path) -> tuple[list[str], int, str, str]:
    """Comment lines, lines before the table, and the first two lines of the table."""
    comments: list[str] = []
    rows: list[str] = []
    start = 0
    _refuse_long_lines(path)
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file):
                text = line.strip()
                if text.startswith("#") and not rows:
                    comments.append(text.lstrip("# "))
                elif text:
                    start = start if rows else number
                    rows.append(text)
                if len(rows) == 2:
                    break
                if number > MOST_COMMENTS:
                    raise ConfigError(f"{path} has no table in its first {MOST_COMMENTS} lines; leave comments out")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no text file ({error}); save the table as UTF-8 text") from error
    if not rows:
        raise ConfigError(f"{path} holds no numbers; expected one column per lead and one row per sample")
    return comments, start, rows[0], rows[-1]


def _refuse_long_lines(path: Path) -> None:
    """A block without the end of a line lies within a line that is longer; shorter ones than a block always pass."""
    with open(path, "rb", buffering=0) as file:
        while len(block := file.read(LONGEST_LINE)) == LONGEST_LINE:
            if b"\n" not in block and b"\r" not in block:
                raise ConfigError(f"{path} has a line of more than {LONGEST_LINE} letters; expected one row per sample")


def _is_number(cell: str) -> bool:
    if cell.lower() in ("", "nan", "na"):
        return True
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _numbers(path: Path, table: Any, names: list[str] | None) -> np.ndarray:
    """[columns, samples] float64; NaN for an empty cell. Warns of rows that end early."""
    import pandas as pd

    columns = []
    for index in range(table.shape[1]):
        if table.dtypes[index].kind in "fiu":  # pandas has found nothing but numbers and empty cells
            columns.append(table[index].to_numpy(np.float64))
            continue
        numbers = pd.to_numeric(table[index], errors="coerce")
        bad = numbers.isna() & table[index].notna()
        if bad.any():
            row, name = int(np.flatnonzero(bad)[0]), names[index] if names else f"number {index + 1}"
            found = f"{table[index][row]!r} in column {name}, row {row + 1}"
            raise ConfigError(f"{path} holds {found}, which is no number; correct it or leave the cell empty")
        columns.append(numbers.to_numpy(np.float64))
    values = np.stack(columns)
    if len(columns) > 1 and (short := int(np.isnan(values[-1]).sum())) > int(np.isnan(values[0]).sum()):
        found = f"the last column has {short} empty cells, which are NaN"
        warnings.warn(f"{path}: {found}; is the file whole?", stacklevel=5)
    return values


def _rate(path: Path, said: dict[str, str]) -> float | None:
    if "sample_rate" not in said:
        return None
    words = said["sample_rate"].split()
    if not words or not _is_number(words[0]):
        raise ConfigError(f"{path} states the sample rate {said['sample_rate']!r}; expected a number of Hz")
    return float(words[0])


def _lead_columns(
    path: Path, values: np.ndarray, names: list[str], wanted: list[str] | None
) -> tuple[np.ndarray, Stated]:
    """The columns that are leads, scaled to mV where their names give units, and what the names state."""
    rows, leads, rate, scaled = [], [], None, False
    for row, text in enumerate(names):
        if len(text) > LONGEST_NAME:
            raise ConfigError(f"{path} has a column called {text[:40]!r} ...; name it after its lead, such as V1 (mV)")
        match = _UNITS.match(text)
        name, units = (match["name"], match["units"]) if match else (text, None)
        key = name.strip().lower()
        if key in _COUNTERS:
            continue
        if key in _TIMES:
            seconds = 1e-3 if units == "ms" else _TIMES[key]
            rate = _rate_of_times(path, values[row] * seconds)
            continue
        if units is not None:
            values[row] *= voltage_factor(units, f"column {text} of {path}")
            scaled = True
        rows.append(row)
        leads.append(name if wanted else _known_lead(path, name))
    if not rows:
        raise ConfigError(f"{path} has the columns {', '.join(names)}, none of which is a lead; name them I, II, V1")
    return values[rows], Stated(rate, wanted or leads, "mV" if scaled else None)


def _known_lead(path: Path, name: str) -> str:
    """The lead's own spelling; a name that turns it over is kept, for `array_record` to do it."""
    lead, sign = upright_lead(name)
    known = (*LEADS, *OTHER_LEADS)
    if lead.lower() in [other.lower() for other in known]:
        return lead if sign > 0 else name
    guess = nearest(name, known)
    hint = f"did you mean '{guess}'? " if guess else ""
    raise ConfigError(f"unknown lead name '{name}' in {path}; {hint}Leads are {', '.join(LEADS)}; rename the column")


def _rate_of_times(path: Path, seconds: np.ndarray) -> float:
    steps = np.diff(seconds)
    if not len(steps) or not np.all(steps > 0):
        raise ConfigError(f"the time column of {path} does not increase; correct it or replace it by sample_rate=")
    rate = len(steps) / float(seconds[-1] - seconds[0])
    if steps.max() > 1.5 * np.median(steps):
        raise ConfigError(f"the time column of {path} has a gap of {steps.max():.4g} s; fill the gap with empty cells")
    return float(round(rate)) if abs(rate - round(rate)) < 0.01 * rate else rate
