"""Bare arrays (.npy) and text tables (.csv, .tsv, .txt) with one column per lead."""

import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError, nearest
from ecg_signals.limits import LONGEST_NAME, MOST_SIGNALS
from ecg_signals.readers.base import Reader
from ecg_signals.readers.npy_file import load_npy
from ecg_signals.readers.stated import Stated, array_record
from ecg_signals.readers.table_keys import leads_of
from ecg_signals.readers.table_layout import (
    SECONDS,
    TIMES,
    Beginning,
    beginning,
    cells_of,
    is_number,
    leads_as_rows,
    looks_like_a_table,
    seconds_of,
    separator_of,
)
from ecg_signals.readers.units import voltage_factor
from ecg_signals.readers.vendor import iso_time, kept
from ecg_signals.registry import register_reader
from ecg_signals.signal.leads import LEADS, OTHER_LEADS, upright_lead
from ecg_signals.signal.record import Record

_COUNTERS = ("", "index", "sample", "samples", "sample #", "frame", "n", "unnamed: 0")
_STARTS = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d", "%Y-%m-%d %H:%M:%S %z", "%Y-%m-%dT%H:%M:%S%z")
_ONE_NUMBER = re.compile(r'"?[-+]?\d+(?:,\d+)?"?')  # with a decimal comma
_UNITS = re.compile(r"(?P<name>.*?)(?:[\s_]*[(\[](?P<units>[^)\]]+)[)\]]|_(?P<suffix>[munµ]v))\s*$", re.IGNORECASE)


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
    rank = 3  # what no other format is

    def sniff(self, head: bytes) -> bool:
        return looks_like_a_table(head)

    def read(self, found: Path, id: int | str | None, stated: Stated) -> Record:
        """A first row of names gives the leads, with units as in "V1 (uV)"; so do names at the start of every row, each
        of which then is a lead.

        A column `time` (seconds; `time_ms` milliseconds), `timestamp`, `date` or `datetime` (since 1970, or ISO 8601)
        gives the rate, as do lines "# sample_rate: 500" or "Sample Rate,500 Hz" before the numbers; likewise `units`
        and `lead`, also in some other languages. A sample counter is left out. Separators: comma, semicolon, tab or
        blanks, or as in "sep=;"; a comma that separates nothing is a decimal point. An empty cell is NaN. UTF-8,
        UTF-16, or what Windows wrote before.
        """
        return _read_table(found, stated)


def _read_table(path: Path, stated: Stated) -> Record:
    begin = beginning(path)
    said = begin.stated
    own = Stated(_rate(path, said.get("rate")), leads_of(said["lead"]) if "lead" in said else None, said.get("units"))
    rows = leads_as_rows(path, begin, MOST_SIGNALS)
    names, table = rows if rows is not None else _columns(path, begin, own.leads or [])
    values, start = (table, None) if rows is not None else _numbers(path, table, names, stated.leads)
    if names is not None:
        values, columns = _lead_columns(path, values, names, stated.leads or _of_one_column(names, own.leads))
        own = columns.over(own)
        if columns.units is not None:  # the columns are in mV by now, whatever the rest of the file and the caller say
            own, stated = replace(own, units=None), replace(stated, units=None)
    if own.leads is not None and len(own.leads) != len(values):
        own = replace(own, leads=None)
    record = array_record(path, values, own.with_caller(path, stated), begin.said, comments=begin.comments)
    record.start = start or iso_time(said.get("start", ""), _STARTS)
    record.statements = [said["statement"]] if "statement" in said else []
    record.patient = kept(begin.patient, stated)
    return record


def _columns(path: Path, begin: Beginning, leads: list[str]) -> tuple[list[str] | None, Any]:
    """Names of the columns, None where there are none, and the table; `leads` are those that the file states."""
    import pandas as pd

    first, second = begin.first, begin.second
    separator = begin.separator or separator_of(first)
    if separator == "," and len(leads) == 1 and _ONE_NUMBER.fullmatch(second):
        separator = None  # a file of one lead, whose numbers have decimal commas
    single = not separator and len(second.split()) == 1  # one column, whose name may have blanks
    cells = [first.strip("\"' ")] if single else cells_of(first, separator)
    if len(cells) > MOST_SIGNALS:
        raise ConfigError(f"{path} has {len(cells)} columns; at most {MOST_SIGNALS} are believed (docs/limits.md)")
    named = not all(map(is_number, cells))

    def parsed(decimal: str) -> Any:
        return pd.read_csv(
            path, sep=separator or r"\s+", decimal=decimal, skiprows=begin.start + named, header=None,
            skip_blank_lines=True, encoding=begin.encoding,
        )  # fmt: skip

    try:
        table = parsed(".")
        if any(kind.kind not in "fiu" for kind in table.dtypes):
            table = parsed(",")
    except (ValueError, OSError, OverflowError) as error:
        raise ConfigError(f"{path} is no table of numbers ({error}); expected one column per lead") from error
    if named and table.shape[1] != len(cells):
        raise ConfigError(f"{path} has {len(cells)} names over {table.shape[1]} columns; give each column one name")
    return cells if named else None, table


def _numbers(
    path: Path, table: Any, names: list[str] | None, wanted: list[str] | None
) -> tuple[np.ndarray, str | None]:
    """[columns, samples] float64, NaN for an empty cell, and the date of the first. Warns of rows that end early.

    Columns of times are in seconds since the first sample.
    """
    import pandas as pd

    columns: list[np.ndarray] = []
    start: str | None = None
    for index in range(table.shape[1]):
        key, units = _key(names[index]) if names else ("", None)
        if key in TIMES:
            seconds, start = seconds_of(path, table[index], SECONDS.get(units or "", TIMES[key]))
            columns.append(seconds)
            continue
        if table.dtypes[index].kind in "fiu":  # pandas has found nothing but numbers and empty cells
            columns.append(table[index].to_numpy(np.float64))
            continue
        numbers = pd.to_numeric(table[index], errors="coerce")
        bad = numbers.isna() & table[index].notna()
        if bad.any():
            if names and not wanted and key not in _COUNTERS:  # before the text is told, which may name a person
                _known_lead(path, names[index] if units is None else names[index][: len(key)])
            row, name = int(np.flatnonzero(bad)[0]), names[index] if names else f"number {index + 1}"
            found = f"{table[index][row]!r} in column {name}, row {row + 1}"
            raise ConfigError(f"{path} holds {found}, which is no number; correct it or leave the cell empty")
        columns.append(numbers.to_numpy(np.float64))
    values = np.stack(columns)
    short, others = (int(np.isnan(values[row]).sum()) for row in (-1, 0))
    if len(columns) > 1 and others < short < values.shape[1]:
        found = f"the last column has {short} empty cells, which are NaN"
        warnings.warn(f"{path}: {found}; is the file whole?", stacklevel=5)
    return values, start


def _key(text: str) -> tuple[str, str | None]:
    """A column's name in lower case, and its units."""
    match = _UNITS.match(text) if len(text) <= LONGEST_NAME else None  # longer ones take long, and are refused
    name, units = (match["name"], match["units"] or match["suffix"]) if match else (text, None)
    return name.strip().lower(), units


def _rate(path: Path, text: str | None) -> float | None:
    if text is None:
        return None
    match = re.match(r"\s*(\d{1,9}(?:[.,]\d{1,9})?)\s*(?:hz|hertz|/s)?\s*", text, re.IGNORECASE)
    if match is None:
        raise ConfigError(f"{path} states the sample rate {text[:40]!r}; expected a number of Hz")
    return float(match[1].replace(",", "."))


def _lead_columns(
    path: Path, values: np.ndarray, names: list[str], wanted: list[str] | None
) -> tuple[np.ndarray, Stated]:
    """The columns that are leads, scaled to mV where their names give units, and what the names state."""
    rows, leads, rate, scaled = [], [], None, False
    for row, text in enumerate(names):
        if len(text) > LONGEST_NAME:
            raise ConfigError(f"{path} has a column called {text[:40]!r} ...; name it after its lead, such as V1 (mV)")
        key, units = _key(text)
        name = text if units is None else text[: len(key)]
        if key in _COUNTERS:
            continue
        if key in TIMES:
            rate = _rate_of_times(path, values[row])
            continue
        if units is not None:
            values[row] *= voltage_factor(units, f"column {text} of {path}")
            scaled = True
        rows.append(row)
        leads.append(name if wanted else _known_lead(path, name))
    if not rows:
        raise ConfigError(f"{path} has the columns {', '.join(names)}, none of which is a lead; name them I, II, V1")
    return values[rows], Stated(rate, wanted or leads, "mV" if scaled else None)


def _of_one_column(names: list[str], leads: list[str] | None) -> list[str] | None:
    """The lead that a file states beside a single column of values that is called something else, such as Voltage."""
    found = [key for key in (_key(name)[0] for name in names) if key not in (*_COUNTERS, *TIMES)]
    known = [lead.lower() for lead in (*LEADS, *OTHER_LEADS)]
    return leads if len(found) == 1 and upright_lead(found[0])[0].lower() not in known else None


def _known_lead(path: Path, name: str) -> str:
    """The lead's own spelling; a name that turns it over is kept, for `array_record` to do it."""
    lead, sign = upright_lead(name)
    known = (*LEADS, *OTHER_LEADS)
    if lead.lower() in [other.lower() for other in known]:
        return lead if sign > 0 else name
    guess = nearest(name, known)
    hint = f"did you mean '{guess}'? " if guess else ""
    raise ConfigError(
        f"unknown lead name '{name}' in {path}; {hint}Leads are {', '.join(LEADS)}; rename the column, or name the "
        "leads of all columns in their order with leads="
    )


def _rate_of_times(path: Path, seconds: np.ndarray) -> float:
    steps = np.diff(seconds)
    if not len(steps) or not np.all(steps > 0):
        raise ConfigError(f"the time column of {path} does not increase; correct it or replace it by sample_rate=")
    rate = len(steps) / float(seconds[-1] - seconds[0])
    if steps.max() > 1.5 * np.median(steps):
        raise ConfigError(f"the time column of {path} has a gap of {steps.max():.4g} s; fill the gap with empty cells")
    return float(round(rate)) if abs(rate - round(rate)) < 0.01 * rate else rate
