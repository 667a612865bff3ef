"""What stands before and around the numbers of a text table: encoding, separator, key lines, names, times."""

import re
import warnings
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.limits import LONGEST_LINE, MOST_COMMENTS, shown
from ecg_signals.readers.table_keys import kind_of
from ecg_signals.readers.units import to_millivolt

TIMES = {
    "time": 1.0, "t": 1.0, "seconds": 1.0, "time_s": 1.0, "time_ms": 1e-3, "ms": 1e-3, "timestamp": 1.0, "date": 1.0,
    "datetime": 1.0, "timestamp_ms": 1e-3, "timestamp_us": 1e-6, "timestamp_ns": 1e-9,
    "elapsed time": 1.0, **dict.fromkeys(("zeit", "temps", "tiempo", "tempo", "tijd"), 1.0),
}  # fmt: skip  # column: seconds per unit
SECONDS = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "hh:mm:ss.mmm": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_EPOCHS = ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3))  # above the first number, times since 1970 are in such units
_CORNERS = ("lead", "leads", "channel", "channels", "name")
_KEY = re.compile(r"\s{0,64}\"?([^,;:=\t\"]{1,64})\"?\s{0,64}[,;:=\t]")  # bounded, so that no line takes long
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1f\x80-\x9f]")  # no letters of a text
_CLOCK = re.compile(r"(?:(\d{1,5}):)?(\d{1,5}):(\d{1,2}(?:\.\d{1,12})?)")  # hours, minutes, seconds
_AROUND = " \t\r\n\"'"  # of a cell; PhysioNet's exports have single quotes
_BLANKS_BETWEEN = re.compile(r"[-+]?\d+(?:,\d+)?(?:\s+[-+]?\d+(?:,\d+)?)+")
_NUMBERS = re.compile(r"[-+]?[\d.]*\d[\d.]*(?:e[-+]?\d+)?|nan|\d[\d.:tz/+-]*", re.IGNORECASE)


@dataclass
class Beginning:
    """The lines before the numbers.

    Attributes:
        start: lines before the first one of the table, its names included.
        first, second: the first two lines of the table; equal where there is one.
        said: what comments and key lines state, by key as written, in small letters.
        stated: likewise, by what it is: "rate", "units", "lead", "start", "statement".
        patient: what key lines say of a person.
    """

    encoding: str = "utf-8-sig"
    separator: str | None = None
    start: int = 0
    first: str = ""
    second: str = ""
    comments: list[str] = field(default_factory=list)
    said: dict[str, str] = field(default_factory=dict)
    stated: dict[str, str] = field(default_factory=dict)
    patient: dict[str, str] = field(default_factory=dict)


def looks_like_a_table(head: bytes) -> bool:
    """Whether a file that begins so is text of which nine tenths are numbers, but for some lines at its start."""
    encoding = encoding_of(head)
    try:
        text = head[: len(head) // 4 * 4].decode(encoding, "ignore" if encoding == "utf-8-sig" else "strict")
    except UnicodeDecodeError:
        return False
    if "\0" in text or text.lstrip()[:1] in ("<", "{", "["):
        return False
    lines = [line for line in text.splitlines() if line.strip()]
    words = re.findall(r"[^\s,;\"']+", "\n".join(lines[12:] if len(lines) > 24 else lines))
    others = (word for word in words if _NUMBERS.fullmatch(word) is None)
    allowed = len(words) // 10
    return len(words) >= 8 and next(islice(others, allowed, None), None) is None


def encoding_of(head: bytes) -> str:
    return "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def beginning(path: Path) -> Beginning:
    """Reads no further than the first line of numbers. Raises: ConfigError for a file without, and for one of bytes."""
    with open(path, "rb") as raw:
        head = raw.read(LONGEST_LINE)
    _refuse_long_lines(path)
    try:
        found, rows = _begun(path, encoding_of(head))
    except UnicodeError as error:
        if _BINARY.search(head):
            raise ConfigError(f"{path} is no text file ({error}); save the table as UTF-8 text") from error
        found, rows = _begun(path, "latin-1")  # as Windows wrote it, in which every byte is a letter
    if not rows:
        raise ConfigError(f"{path} holds no numbers; expected one column per lead and one row per sample")
    _place(rows, found)
    return found


def _begun(path: Path, encoding: str) -> tuple[Beginning, list[tuple[int, str]]]:
    found = Beginning(encoding)
    with open(path, encoding=encoding) as file:
        return found, _rows(path, file, found)


def _rows(path: Path, file: TextIO, found: Beginning) -> list[tuple[int, str]]:
    """Numbered lines, without comments and empty ones, up to the second row of numbers."""
    rows: list[tuple[int, str]] = []
    numeric = 0
    for number, line in enumerate(file):
        text = line.strip()
        if number == 0 and text.lower().startswith("sep=") and len(text) > 4:
            found.separator = "\t" if text[4:] == "\\t" else text[4]
        elif text.startswith("#") and not rows:
            _note(found, text.lstrip("# "), comment=True)
        elif text:
            rows.append((number, text))
            numeric += _is_row(text, found)
            if numeric == 2 or (len(rows) == 2 and _is_header(text, rows, found)):
                break
        if number > MOST_COMMENTS:
            if not numeric and len(rows) < 2:
                raise ConfigError(f"{path} has no table in its first {MOST_COMMENTS} lines; leave comments out")
            break
    return rows


def _is_row(text: str, found: Beginning) -> bool:
    """Whether a line is one of numbers, or of a name, such as a lead's or a time, and two numbers or more."""
    first, *others = cells_of(text, found.separator)
    if not all(map(is_number, others)):
        return False
    return is_number(first) or (len(others) > 1 and not _is_key_line(text))


def _is_header(text: str, rows: list[tuple[int, str]], found: Beginning) -> bool:
    """Whether the first two lines are the names and the first numbers, or leads as rows."""
    first, second = (cells_of(row, found.separator) for _, row in rows)
    return len(first) == len(second) > 2 and sum(map(is_number, second)) >= len(second) - 1


def _place(rows: list[tuple[int, str]], found: Beginning) -> None:
    """Where the table begins: at the first line of numbers, or at the names before it, which are no key and its value;
    what is before are key lines."""
    sizes = [len(cells_of(text, found.separator)) for _, text in rows]
    numeric = [_is_row(text, found) for _, text in rows]
    at = numeric.index(True) if any(numeric) else min(1, len(rows) - 1)
    if at and not (_is_key_line(rows[at - 1][1]) and sizes[at - 1] <= 3 != sizes[at]):
        at -= at == 1 or sizes[at - 1] == sizes[at]
    found.start, found.first = rows[at]
    named = _with_units(rows[at - 1][1], found) if at and sizes[at - 1] == sizes[at] else None
    found.first = named or found.first
    for _, text in rows[: at - bool(named)]:
        _note(found, text)
    found.second = rows[min(at + 1, len(rows) - 1)][1]


def _with_units(names: str, found: Beginning) -> str | None:
    """A line of names with the units that the line below them, `found.first`, holds; None where that is another one."""
    units = [cell.strip("()[] ") for cell in cells_of(found.first, found.separator)]
    known = (not unit or unit in SECONDS or to_millivolt(unit) is not None for unit in units)
    if not any(units) or not all(known):
        return None
    mark = found.separator or next((mark for mark in "\t;," if mark in names), ",")
    return mark.join(f"{name} ({unit})" if unit else name for name, unit in zip(cells_of(names, mark), units))


def _key_and_value(text: str) -> tuple[str, str] | None:
    match = _KEY.match(text)
    return (match[1].strip(), text[match.end() :].strip().rstrip(",; \t").strip('"').strip()) if match else None


def _is_key_line(text: str) -> bool:
    pair = _key_and_value(text)
    return pair is not None and kind_of(*pair) != ""


def _note(found: Beginning, text: str, comment: bool = False) -> None:
    """Keeps a line before the table: as a statement, and as a comment where it is one. A person's is kept apart, and of
    lines that are no comments, such as a watch writes, all whose key is not known.
    """
    pair = _key_and_value(text)
    if pair is None:
        found.comments += [text] if comment else []
        return
    kind = kind_of(*pair) or ("open" if comment else "personal")
    if kind == "personal":
        found.patient[pair[0].lower()] = pair[1]
        return
    found.said.setdefault(pair[0].lower(), pair[1])
    found.comments.append(text)
    if pair[1]:
        found.stated.setdefault(kind, pair[1])


def cells_of(line: str, separator: str | None) -> list[str]:
    """Cells of a line, by a known separator or the one that it shows."""
    return [cell.strip(_AROUND) for cell in line.split(separator or separator_of(line))]


def separator_of(line: str) -> str | None:
    """What parts the cells of a line; None for blanks, also between numbers with decimal commas."""
    mark = next((mark for mark in "\t;," if mark in line), None)
    return None if mark == "," and _BLANKS_BETWEEN.fullmatch(line) else mark


def is_number(cell: str) -> bool:
    if cell.lower() in ("", "nan", "na"):
        return True
    try:
        float(cell if "," not in cell else cell.replace(",", "."))
    except ValueError:
        return False
    return True


def _refuse_long_lines(path: Path) -> None:
    """A block without the end of a line lies within a line that is longer; shorter ones than a block always pass."""
    with open(path, "rb", buffering=0) as file:
        while len(block := file.read(LONGEST_LINE)) == LONGEST_LINE:
            if b"\n" not in block and b"\r" not in block:
                raise ConfigError(f"{path} has a line of more than {LONGEST_LINE} letters; expected one row per sample")


def leads_as_rows(path: Path, found: Beginning, most: int) -> tuple[list[str], np.ndarray] | None:
    """Names, and values [names, samples], of a table whose lines begin with a name; None for another one."""
    lines = [cells_of(line, found.separator) for line in (found.first, found.second)]
    if any(len(cells) < 3 or is_number(cells[0]) or not all(map(is_number, cells[1:])) for cells in lines[1:]):
        return None
    if not all(map(is_number, lines[0][1:])):
        return None
    names, rows = [], []
    decimal = any(mark in (found.separator or found.first) for mark in ";\t")
    with open(path, encoding=found.encoding) as file:
        for line in islice(file, found.start, found.start + MOST_COMMENTS):
            if not line.strip():
                continue
            name, *cells = cells_of(line.strip(), found.separator)
            texts = [cell.replace(",", ".") if decimal else cell for cell in cells]
            try:
                rows.append(np.array([float(text) if text and text.lower() != "na" else np.nan for text in texts]))
            except ValueError:
                raise ConfigError(f"{path}: the row {shown(name, 20)} holds something else than numbers") from None
            names.append(name)
    if names[0].lower() in _CORNERS:  # a first line that counts the samples
        names, rows = names[1:], rows[1:]
    if len(names) > most or len({len(row) for row in rows}) > 1:
        lengths = sorted({len(row) for row in rows})
        raise ConfigError(f"{path} has {len(names)} rows of {lengths[0]} to {lengths[-1]} numbers; expected equal ones")
    return names, np.stack(rows)


def seconds_of(path: Path, column: Any, scale: float) -> tuple[np.ndarray, str | None]:
    """Seconds of a column of times [samples], and the date of its first as ISO 8601, where it has one.

    Args:
        column: numbers in units of `scale` seconds or since 1970, or texts of dates and times.
    Raises: ConfigError for texts that are no times.
    """
    import pandas as pd

    if column.dtype.kind in "fiu":
        values = column.to_numpy(np.float64)
        largest = float(np.nanmax(np.abs(values))) if len(values) and not np.isnan(values).all() else 0.0
        scale = next((unit for least, unit in _EPOCHS if largest > least), scale)
        return (values - values[0]) * scale, None
    texts = column.astype(str).str.strip(_AROUND)
    clocks = [_CLOCK.fullmatch(text) for text in texts]
    if all(clocks):
        parts = np.array([[float(part or 0) for part in clock.groups()] for clock in clocks if clock])
        seconds = parts @ [3600.0, 60.0, 1.0]
        return seconds - seconds[0], None
    for form in ("ISO8601", None):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # pandas says that it guesses
                times = pd.to_datetime(texts, format=form)
        except (ValueError, OverflowError):
            continue
        start = times.iloc[0].isoformat() if form else None  # in others day and month are told apart by nothing
        return (times - times.iloc[0]).dt.total_seconds().to_numpy(np.float64), start
    raise ConfigError(f"{path}: the column of times holds {shown(texts.iloc[0], 30)}, which is no time; leave it out")
