"""Bare arrays (.npy) and text tables (.csv, .tsv, .txt) with one column per lead."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError, nearest
from ecg_signals.readers.stated import Stated, array_record
from ecg_signals.readers.units import voltage_factor
from ecg_signals.signal.leads import LEADS, lead_name
from ecg_signals.signal.record import Record

OTHER_LEADS = ("MLI", "MLII", "MLIII", "V7", "V8", "V9", "V3R", "V4R", "V5R", "Vx", "Vy", "Vz")
_TIMES = {"time": 1.0, "t": 1.0, "seconds": 1.0, "time_s": 1.0, "time_ms": 1e-3, "ms": 1e-3}  # column: seconds per unit
_COUNTERS = ("", "index", "sample", "samples", "frame", "n", "unnamed: 0")
_UNITS = re.compile(r"(?P<name>.*?)[\s_]*[(\[](?P<units>[^)\]]+)[)\]]\s*$")


def read_npy(path: Path, stated: Stated) -> Record:
    """An array [leads, samples] or [samples, leads]; twelve unnamed leads are in the standard order."""
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ConfigError(f"{path} is truncated or no plain .npy array ({error}); save it with numpy.save") from error
    return array_record(path, values, stated, {}, comments=[])


def read_table(path: Path, stated: Stated) -> Record:
    """A table with samples as rows. A first row of names gives the leads, with units as in "V1 (uV)".

    A column `time` (seconds; `time_ms` milliseconds) gives the rate, as do lines "# sample_rate: 500" and
    "# units: uV"; a sample counter is left out. Separators: comma, semicolon, tab or blanks. An empty cell is NaN.
    """
    import pandas as pd

    comments, start, first, second = _beginning(path)
    separator = next((mark for mark in "\t;," if mark in first), None)
    single = not separator and len(second.split()) == 1  # one column, whose name may have blanks
    cells = [cell.strip().strip('"') for cell in ([first] if single else first.split(separator))]
    named = not all(_is_number(cell) for cell in cells)
    decimal = "," if separator == ";" and "," in (second if named else first) else "."
    if decimal == "," and not named:
        named = not all(_is_number(cell.replace(",", ".")) for cell in cells)
    try:
        table = pd.read_csv(
            path, sep=separator or r"\s+", decimal=decimal, skiprows=start + named, header=None, skip_blank_lines=True
        )
    except (ValueError, OSError) as error:
        raise ConfigError(f"{path} is no table of numbers ({error}); expected one column per lead") from error
    if named and table.shape[1] != len(cells):
        raise ConfigError(f"{path} has {len(cells)} names over {table.shape[1]} columns; give each column one name")
    values = _numbers(path, table, cells if named else None)
    said = dict(line.split(":", 1) for line in comments if ":" in line)
    said = {key.strip().lower(): value.strip() for key, value in said.items()}
    own = Stated(_rate(path, said), None, said.get("units"))
    if named:
        values, columns = _lead_columns(path, values, cells, stated.leads)
        own = columns.over(own) if columns.units is None else columns.over(Stated(own.sample_rate))
    return array_record(path, values, own.over(stated), said, comments=comments)


def _beginning(path: Path) -> tuple[list[str], int, str, str]:
    """Comment lines, lines before the table, and the first two lines of the table."""
    comments: list[str] = []
    rows: list[str] = []
    start = 0
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
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no text file ({error}); save the table as UTF-8 text") from error
    if not rows:
        raise ConfigError(f"{path} holds no numbers; expected one column per lead and one row per sample")
    return comments, start, rows[0], rows[-1]


def _is_number(cell: str) -> bool:
    if cell.lower() in ("", "nan", "na"):
        return True
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _numbers(path: Path, table: Any, names: list[str] | None) -> np.ndarray:
    """[columns, samples] float64."""
    import pandas as pd

    columns = []
    for index in range(table.shape[1]):
        numbers = pd.to_numeric(table[index], errors="coerce")
        bad = numbers.isna() & table[index].notna()
        if bad.any():
            row, name = int(np.flatnonzero(bad)[0]), names[index] if names else f"number {index + 1}"
            found = f"{table[index][row]!r} in column {name}, row {row + 1}"
            raise ConfigError(f"{path} holds {found}, which is no number; correct it or leave the cell empty")
        columns.append(numbers.to_numpy(np.float64))
    return np.stack(columns)


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
    lead = lead_name(name)
    known = (*LEADS, *OTHER_LEADS)
    if lead.lower() in [other.lower() for other in known]:
        return lead
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
