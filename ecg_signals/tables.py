"""Tables: the one place that reads and writes CSV files.

Written: UTF-8, commas, and an apostrophe before text that a spreadsheet would run as a formula; reading takes it off.
Read: as exported: commas, semicolons, tabs or bars; UTF-8, UTF-16 with a mark, Windows-1252; decimal commas where the
separator is no comma. A row of another number of fields than the header is an error.
"""

import csv
import io
import operator
import re
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ecg_signals.config import ConfigError, unknown_message
from ecg_signals.files import replacing
from ecg_signals.limits import (
    MAX_GZIP_FILES,
    MAX_TABLE_BYTES,
    MAX_TABLE_COLUMNS,
    MAX_TABLE_LINE,
    MAX_UNPACKED_MORE,
    MAX_UNPACKED_PER_BYTE,
    regular_file,
    shown,
)

if TYPE_CHECKING:  # pandas takes long to import
    from pandas import DataFrame as Table
    from pandas import Series as Column
else:
    Table = Column = Any

SEPARATORS = (",", ";", "\t", "|")
RISKY = frozenset("'=+-@\t\r\n")
FORMULA = re.compile(r"'*[=+\-@\t\r\n]")  # what makes a spreadsheet run a cell, perhaps guarded already
GUARDED = re.compile(r"'[=+\-@\t\r\n]")  # somewhere in a file
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
BLOCK = 10_000  # rows that are text at a time
_GZIP, _PIECE = 31, 1 << 20  # zlib's name of the format; bytes that are unpacked at a time
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?|[+-]?\d+")


# ---------------------------------------------------------------- write


def guarded(text: str) -> str:
    """Text for a cell: what a spreadsheet would run gets an apostrophe before it; a number stays one."""
    return f"'{text}" if text[:1] in RISKY and FORMULA.match(text) and not NUMBER.fullmatch(text) else text


def unguarded(text: str) -> str:
    """The text that `guarded` was given."""
    return text[1:] if text[:1] == "'" and FORMULA.match(text) else text


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file whole or not at all."""
    write_lines(path, [text])


def write_lines(path: Path, texts: Iterable[str]) -> None:
    """The same from one text after the other."""
    with replacing(path) as partial, open(partial, "w", -1, "utf-8", "backslashreplace", newline="\n") as file:
        file.writelines(texts)


def read_text(path: Path) -> str:
    """A UTF-8 file, such as a manifest. Raises: ConfigError naming the first byte that is none."""
    try:
        return regular_file(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not a text file in UTF-8 ({error.reason} at byte {error.start}); make it again"
        ) from None


def write_table(path: Path, table: Table) -> None:
    """Write a CSV file without the index, whole or not at all, and never all of its text in memory."""
    write_lines(path, _table_texts(table))


def table_text(table: Table) -> str:
    """What `write_table` writes."""
    return "".join(_table_texts(table))


def _table_texts(table: Table) -> Iterator[str]:
    """The CSV's text, some thousand rows at a time."""
    returns = any(_has_returns(table.iloc[start : start + BLOCK]) for start in range(0, len(table), BLOCK))
    quoting = csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL  # pandas leaves carriage returns unquoted
    for start in range(0, max(len(table), 1), BLOCK):
        safe = _each_cell(table.iloc[start : start + BLOCK], guarded)
        yield safe.to_csv(index=False, lineterminator="\n", quoting=quoting, header=start == 0)


def _has_returns(table: Table) -> bool:
    texts = (value for _, column in table.items() if column.dtype.kind == "O" for value in column)
    return any(isinstance(value, str) and "\r" in value for value in texts)


def _each_cell(table: Table, change: Callable[[str], str]) -> Table:
    """The table with its texts and column names changed."""
    changed = table.copy(deep=False)
    for name, column in table.items():
        if column.dtype.kind == "O":
            given = list(column)
            values = [change(value) if isinstance(value, str) else value for value in given]
            if any(map(operator.is_not, values, given)):  # a column is slow to put in
                changed[name] = column.__class__(values, index=table.index, dtype=column.dtype)
    return changed.rename(columns=lambda name: change(name) if isinstance(name, str) else name)


# ---------------------------------------------------------------- read


def read_table(path: Path, needed: Sequence[str] = (), unnamed: str | None = None, text: Sequence[str] = ()) -> Table:
    """A CSV; see the top of this file for what is taken as one.

    Args:
        needed: columns that must be there.
        unnamed: the name of a first column without one; None: it is dropped, since pandas writes row numbers there.
        text: columns that stay text, also where they look like numbers.
    Raises: ConfigError naming the file, and the line where it matters: no file, no table, a column that is missing,
        rows of several lengths, NUL bytes, more columns than MAX_TABLE_COLUMNS.
    """
    import pandas as pd

    content, separator = _content(path)
    _check_rows(path, content, separator)
    try:
        source, types = io.StringIO(content, newline=""), dict.fromkeys(text, "str")
        table = pd.read_csv(source, sep=separator, low_memory=False, dtype=types)
    except (ValueError, OverflowError, RecursionError) as error:  # of pandas: also ParserError and EmptyDataError
        raise ConfigError(f"{path} is not a CSV table with a header line: {shown(error)}; export it again") from None
    if separator != ",":
        table = _with_points(path, table, text)
    if GUARDED.search(content):
        table = _each_cell(table, unguarded)
    if "Unnamed: 0" in table.columns:
        table = table.rename(columns={"Unnamed: 0": unnamed}) if unnamed else table.drop(columns=["Unnamed: 0"])
    check_columns(table, needed, str(path))
    return table


def read_tables(paths: Iterable[Path], needed: Sequence[str]) -> Table:
    """The rows of several tables, one below the other; each as `read_table` reads it."""
    import pandas as pd

    return pd.concat([read_table(path, needed) for path in paths], ignore_index=True)


def table_parts(path: Path, columns: Sequence[str], rows: int = 1_000_000) -> Iterator[Table]:
    """Some columns of a large CSV with commas, which may be a .gz, so many rows at a time.

    Raises: ConfigError naming the file: no table, or a column that is missing.
    """
    import pandas as pd

    try:
        check_columns(pd.read_csv(regular_file(path), nrows=0), columns, str(path))
        with pd.read_csv(path, usecols=list(columns), chunksize=rows, low_memory=False) as parts:
            for part in parts:
                yield part[list(columns)]
    except (ValueError, OverflowError, EOFError, OSError, zlib.error) as error:
        raise ConfigError(f"{path} cannot be read as a CSV table with a header line: {shown(error)}") from None


def first_file(folder: Path, *names: str) -> Path:
    """The first of these files that lies in a folder, as it is or as .gz. Raises: ConfigError naming them."""
    places = [folder / f"{name}{ending}" for name in names for ending in ("", ".gz")]
    for place in places:
        if place.is_file():
            return place
    raise ConfigError(f"{folder} has none of {', '.join(names)}, also not as .gz; give the folder that holds them")


def read_rows(path: Path) -> list[list[str]]:
    """The cells of a CSV as text, header first, without pandas. Raises: ConfigError as `read_table`."""
    content, separator = _content(path)
    _check_rows(path, content, separator)
    return [[unguarded(cell) for cell in row] for _, row in _cells(path, content, separator)]


def check_columns(table: Table, needed: Sequence[str], where: str) -> None:
    """Raises: ConfigError naming the first missing column and the nearest one that is there."""
    for name in needed:
        if name not in table.columns:
            raise ConfigError(unknown_message(f"column '{name}'", name, map(str, table.columns), f"{where} has"))


def numbers(table: Table, column: str, path: object, *, whole: bool = False) -> Column:
    """A column as floats, or int64 if `whole`; NaN where it is empty. Raises: ConfigError naming row and value."""
    import pandas as pd

    given = table[column]
    found = pd.to_numeric(given, errors="coerce").astype(float)
    bad = (found.isna() & (given.notna() | whole)) | np.isinf(found) | (whole & (found % 1 != 0) & found.notna())
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        kind = "a whole number" if whole else "a number"
        raise ConfigError(f"{path}: column {column} holds '{shown(given.iloc[row])}' in row {row + 1}; expected {kind}")
    return found.astype("int64") if whole else found


def path_list(text: str | None) -> list[Path]:
    """Files with commas between them; a comma in the name of a file that exists separates nothing."""
    out: list[Path] = []
    parts = (text or "").split(",")
    while parts:
        ends = [end for end in range(1, len(parts) + 1) if Path(",".join(parts[:end]).strip()).is_file()]
        taken = ends[0] if ends else 1
        out += [Path(name).expanduser() for name in [",".join(parts[:taken]).strip()] if name]
        parts = parts[taken:]
    return out


def comma_list(text: str | None) -> list[str]:
    """ "a, b" -> ["a", "b"]; None or "" -> []."""
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def header_of(path: Path) -> list[str]:
    """The column names of a CSV; [] for a file that is none. Only its first bytes are read."""
    with regular_file(path).open("rb") as file:
        start = file.read(1 << 16)
    try:
        first = next((line for line in _decoded(path, start, whole=False).splitlines() if line.strip()), "")
    except ConfigError:
        return []
    return [unguarded(cell.strip()) for cell in next(csv.reader([first], delimiter=_separator(first)), [])]


def _content(path: Path) -> tuple[str, str]:
    """The text of a table, and what separates its columns."""
    if not path.exists():
        raise ConfigError(f"there is no table {path}; check the path")
    size = regular_file(path).stat().st_size
    if size > MAX_TABLE_BYTES:
        raise ConfigError(f"{path} is larger than the {MAX_TABLE_BYTES:,} bytes a table may have; split it")
    data = _unpacked(path, size) if path.suffix == ".gz" else path.read_bytes()
    _refuse_long_lines(path, data)
    text = _decoded(path, data)
    text = text if "\n" in text else text.replace("\r", "\n")  # lines of an old Macintosh
    first, _, rest = text.partition("\n")
    stated = re.fullmatch(r"\s*sep=(.)\s*", first)  # Excel's own mark
    if stated:
        return rest, stated[1]
    first = next((line for line in text.splitlines() if line.strip()), "") if not first.strip() else first
    if not first.strip():
        raise ConfigError(f"{path} is empty; expected a CSV table with a header line")
    return text, _separator(first)


def _unpacked(path: Path, size: int) -> bytes:
    """The content of a gzip file of `size` bytes, as far as it is believed."""
    most = min(size * MAX_UNPACKED_PER_BYTE + MAX_UNPACKED_MORE, MAX_TABLE_BYTES)
    unpacker, out, files = zlib.decompressobj(wbits=_GZIP), bytearray(), 1
    try:
        with open(path, "rb") as source:
            while piece := unpacker.unconsumed_tail or source.read(_PIECE):
                out += unpacker.decompress(piece, _PIECE)
                if unpacker.eof and (rest := unpacker.unused_data.lstrip(b"\0")):  # gzip files behind each other
                    source.seek(-len(rest), 1)
                    unpacker, files = zlib.decompressobj(wbits=_GZIP), files + 1
                if len(out) > most:
                    raise ConfigError(
                        f"{path} unpacks to over {most:,} bytes (docs/limits.md); unpack it first: gunzip"
                    )
                if files > MAX_GZIP_FILES:
                    raise ConfigError(f"{path} is more than {MAX_GZIP_FILES:,} gzip files; pack it again as one")
    except zlib.error as error:
        raise ConfigError(f"{path} is not a whole gzip file ({error}); get it again") from None
    if not unpacker.eof:
        raise ConfigError(f"{path} is not a whole gzip file (it ends early); get it again")
    return bytes(out)


def _refuse_long_lines(path: Path, data: bytes) -> None:
    at = 0
    while len(data) - at > MAX_TABLE_LINE:
        end = max(data.rfind(mark, at, at + MAX_TABLE_LINE) for mark in (b"\n", b"\r"))
        if end < 0:
            raise ConfigError(f"{path} has a line of more than {MAX_TABLE_LINE:,} bytes; expected one row per line")
        at = end + 1


def _decoded(path: Path, data: bytes, whole: bool = True) -> str:
    """Bytes as text. `whole` False: the end may cut a character."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        try:
            return data.decode("utf-16", errors="strict" if whole else "ignore")
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path} is no whole UTF-16 text ({error.reason}); save it as UTF-8") from None
    if b"\0" in data:
        line = data[: data.index(b"\0")].count(b"\n") + 1
        raise ConfigError(f"{path} holds a NUL byte in line {line}; expected text. Export the table again, as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if not whole and error.start > len(data) - 4:
            return data.decode("utf-8-sig", errors="ignore")
        line = data[: error.start].count(b"\n") + 1
        warnings.warn(f"{path} is not UTF-8 (line {line}); it is read as Windows-1252", stacklevel=4)
        return data.decode("cp1252", errors="replace")


def _separator(header: str) -> str:
    """What cuts the header into most columns; a comma where nothing does."""
    outside = re.sub(r'"[^"]*"', "", header)
    return max(SEPARATORS, key=outside.count)


def _check_rows(path: Path, content: str, separator: str) -> None:
    """Raises: ConfigError for a header that is too wide or names a column twice, and a row of another length."""
    wanted, header = 0, []
    for line, count, cells in _row_lengths(path, content, separator):
        if not wanted:
            wanted, header = count, cells
            if wanted > MAX_TABLE_COLUMNS:
                raise ConfigError(f"{path} has {wanted:,} columns; a table may have {MAX_TABLE_COLUMNS:,}. Split it")
        elif count != wanted:
            raise ConfigError(
                f"{path}, line {line} has {count} fields where the header has {wanted} (separated by {separator!r}). "
                f"Put text that holds {separator!r} into quotes, or export the table again"
            )
    named = [cell for cell in header if cell.strip()]
    twice = next((name for name in named if named.count(name) > 1), None) if len(set(named)) < len(named) else None
    if twice is not None:
        raise ConfigError(f"{path} has the column {shown(twice)!r} twice; rename one of them")


def _row_lengths(path: Path, content: str, separator: str) -> Iterator[tuple[int, int, list[str]]]:
    """(line, fields, cells of the header) of the header, and of rows whose length may differ from it."""
    if '"' in content:
        yield from ((line, len(row), row) for line, row in _cells(path, content, separator))
        return
    data = np.frombuffer(content.encode(), dtype=np.uint8)
    ends = np.flatnonzero(data == ord("\n"))
    starts = np.concatenate([[0], ends + 1])
    marks = np.searchsorted(np.flatnonzero(data == ord(separator)), np.append(starts, len(data)))
    counts = np.diff(marks)
    lines = content.split("\n", 50)
    first = next(number for number, line in enumerate(lines) if line.strip())
    yield first + 1, int(counts[first]) + 1, lines[first].strip("\r").split(separator)
    for number in np.flatnonzero(counts != counts[first]):
        begin, end = int(starts[number]), int(ends[number]) if number < len(ends) else len(data)
        if data[begin:end].tobytes().strip():
            yield int(number) + 1, int(counts[number]) + 1, []


def _cells(path: Path, content: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of every row that is not blank."""
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=separator)
    try:
        yield from ((reader.line_num, row) for row in reader if any(cell.strip() for cell in row) or len(row) > 1)
    except csv.Error as error:
        raise ConfigError(f"{path}, line {reader.line_num}: {error}; export the table again") from None


def _with_points(path: Path, table: Table, text: Sequence[str]) -> Table:
    """Decimal commas as numbers, in columns that hold nothing else."""
    changed: dict[str, Any] = {}
    for name in table.columns:
        if name in text or table[name].dtype.kind != "O":
            continue
        values = table[name].dropna().astype(str).str.strip()
        commas = values.str.contains(",").any()
        if commas and all(DECIMAL_COMMA.fullmatch(cell) for cell in values):
            changed[name] = values.str.replace(",", ".").astype(float).reindex(table.index)
    if changed:
        warnings.warn(f"{path}: commas are decimal points in the columns {', '.join(changed)}", stacklevel=3)
    return table.assign(**changed)
