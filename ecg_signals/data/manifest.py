"""Manifests: the .tsv files that list what a split holds; one parser for every kind.

kind            line 1   line 2      every further line, tab separated
plain           root     -           path, samples
cmsc            root     extension   stem, samples, 0, segment numbers such as 0,1
identification  root     -           path, samples, class

A path may be a packed address, `shard.npy:offset:bytes`; in a cmsc manifest, whose line 2 is then `npy`, it spans
the row's segments one after the other. Large manifests are compiled once into an Arrow file that every process maps.
"""

import hashlib
import os
import re
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from ecg_signals.config import ConfigError, resolve_input
from ecg_signals.files import CannotWrite, replacing
from ecg_signals.limits import regular_file

COLUMNS = {
    "plain": ("path", "samples"),
    "cmsc": ("stem", "samples", "0", "segments"),
    "identification": ("path", "samples", "class"),
}
DATASETS = {"plain": "ecg_file", "cmsc": "cmsc", "identification": "identification"}  # what usually reads a kind
CACHE_FROM_BYTES = 4 << 20  # manifests from this size on are compiled
CACHE_VERSION = b"1"
CACHE_DIR = "ECG_SIGNALS_CACHE"  # environment variable: where compiled manifests lie
_ADDRESS = re.compile(r"(.+\.npy):(\d+):(\d+)")


class Slice(NamedTuple):
    """A packed address: `bytes` bytes of `shard` from byte `offset` on."""

    shard: str
    offset: int
    bytes: int

    @classmethod
    def parse(cls, address: str) -> "Slice | None":
        """`shard.npy:offset:bytes` -> Slice; None for an ordinary path."""
        found = _ADDRESS.fullmatch(address) if address[-1:].isdigit() else None  # which is quick to see
        return cls(found[1], int(found[2]), int(found[3])) if found else None

    def __str__(self) -> str:
        return f"{self.shard}:{self.offset}:{self.bytes}"


class Listing(Protocol):
    """What lists the items of a dataset of segments.

    Attributes:
        path: the file.
        root: the folder that addresses follow.
        samples: [items] int64, samples of each.
    """

    path: Path
    root: Path

    @property
    def samples(self) -> np.ndarray: ...

    def addresses(self, index: int) -> list[str]:
        """One address per segment of an item, for the dataset's source."""


class _Texts:
    """A column of text as one run of bytes, which may grow, and where each row's text ends, starting with 0."""

    def __init__(self, content: Any, ends: Any) -> None:
        self.content, self.ends = content, ends

    def __getitem__(self, row: int) -> str:
        return bytes(self.content[self.ends[row] : self.ends[row + 1]]).decode()

    def append(self, text: str) -> None:
        self.content += text.encode()
        self.ends.append(len(self.content))


@dataclass
class _Columns:
    """A parsed manifest."""

    kind: str
    root: str
    extension: str
    samples: np.ndarray  # [rows] int64
    parts: np.ndarray  # [rows] int32, segments that a cmsc row names, else 1
    path: _Texts
    extra: _Texts  # segments or class


class Manifest:
    """The rows of one manifest, by number; see the module's table.

    Attributes:
        path: the .tsv file.
        kind: plain, cmsc or identification.
        root: the folder that addresses follow.
        samples: [rows] int64, samples per row.
    """

    def __init__(self, path: str | os.PathLike[str], kind: str | None = None, min_samples: int | None = None) -> None:
        """Reads `path`, or maps its compiled form; `min_samples` leaves out shorter rows.

        Raises: ConfigError naming file and line for anything that is not a manifest of this kind (None: any kind),
        for a duplicate row, for a manifest without rows and for a root that does not exist.
        """
        self.path = resolve_input(path)
        self._arguments = (os.fspath(self.path), kind, min_samples)
        self._columns = _load(self.path)
        self.kind = self._columns.kind
        if kind is not None and kind != self.kind:
            raise ConfigError(_wrong_kind(self.path, self.kind, kind))
        self._keep = self._select(min_samples)
        self.samples = self._columns.samples if self._keep is None else self._columns.samples[self._keep]
        self.root = _resolve_root(self.path, self._columns.root)

    @property
    def parts(self) -> np.ndarray:
        """[rows] int32, the segments that each row of a cmsc manifest names; an odd last one is not taken."""
        return self._columns.parts if self._keep is None else self._columns.parts[self._keep]

    def __reduce__(self) -> tuple[Any, ...]:
        return Manifest, self._arguments

    def __len__(self) -> int:
        return len(self.samples)

    def _select(self, min_samples: int | None) -> np.ndarray | None:
        """Rows to keep, None for all: long enough and, for cmsc, with at least two segments."""
        columns = self._columns
        keep = np.ones(len(columns.samples), dtype=bool)
        if min_samples is not None:
            keep &= columns.samples >= min_samples
        if columns.kind == "cmsc":
            keep &= columns.parts >= 2
        if not keep.any():
            reason = f"all {len(keep)} rows are shorter than min_sample_size={min_samples}"
            if min_samples is None or not len(keep):
                reason = "none of its rows has two segments" if len(keep) else "it has no rows"
            raise ConfigError(f"{self.path} is empty: {reason}. Make it again with `ecg-preprocess manifest`")
        return None if keep.all() else np.flatnonzero(keep)

    def _row(self, index: int) -> int:
        return int(index if self._keep is None else self._keep[index])

    def stem(self, index: int) -> str:
        """The first column of row `index`, for plugins."""
        return self._columns.path[self._row(index)]

    def label(self, index: int) -> int:
        """Class of an identification row."""
        return int(self._columns.extra[self._row(index)])

    def addresses(self, index: int) -> list[str]:
        """What row `index` names, relative to the root: one path or packed address per segment."""
        row = self._row(index)
        path = self._columns.path[row]
        if self.kind != "cmsc":
            return [path]
        numbers = self._columns.extra[row].split(",")
        even = len(numbers) // 2 * 2
        packed = Slice.parse(path)
        if packed:
            size = packed.bytes // len(numbers)
            return [f"{packed.shard}:{packed.offset + position * size}:{size}" for position in range(even)]
        return [f"{path}_{int(number)}.{self._columns.extension}" for number in numbers[:even]]

    def rows(self) -> Iterable[tuple[str, ...]]:
        """Every kept row's columns as text, in order: what `write_manifest` takes."""
        for index in range(len(self)):
            row = self._row(index)
            path, samples, extra = self._columns.path[row], str(self._columns.samples[row]), self._columns.extra[row]
            yield {"plain": (path, samples), "cmsc": (path, samples, "0", extra)}.get(self.kind, (path, samples, extra))


def write_manifest(
    path: str | os.PathLike[str], root: str | os.PathLike[str], rows: Iterable[Sequence[Any]], extension: str = ""
) -> None:
    """Write a manifest atomically: the root, `extension` as line 2 unless empty, then one line per row."""
    with replacing(Path(path), durable=True) as partial, open(partial, "w", encoding="utf-8", newline="\n") as file:
        file.write(f"{root}\n" + (f"{extension}\n" if extension else ""))
        file.writelines("\t".join(map(str, row)) + "\n" for row in rows)


def _wrong_kind(path: Path, found: str, expected: str) -> str:
    columns = ", ".join(COLUMNS[expected])
    second = " and the extension on line 2" if expected == "cmsc" else ""
    return (
        f"{path} is a manifest of kind '{found}' ({', '.join(COLUMNS[found])}); the dataset {DATASETS[expected]} reads "
        f"kind '{expected}' ({columns}{second}). Set task.data to another folder or dataset._name={DATASETS[found]}"
    )


def _resolve_root(path: Path, root: str) -> Path:
    """The root as it stands, relative to where the command was typed, or relative to the manifest."""
    found = resolve_input(root)
    if not found.is_dir() and not Path(root).is_absolute() and (path.parent / root).is_dir():
        found = path.parent / root
    if not found.is_dir():
        raise ConfigError(
            f"{path}, line 1: the root {root!r} is not a folder here (looked for {found.absolute()}). "
            f"Write the folder that the paths below it follow on line 1"
        )
    return found


def _load(path: Path) -> _Columns:
    try:
        stat = path.stat()
        regular_file(path)
        if stat.st_size < CACHE_FROM_BYTES:
            return _parse(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}. Make it with `ecg-preprocess manifest`") from None
    folder = Path(os.environ.get(CACHE_DIR, os.path.expanduser("~/.cache/ecg_signals"))) / "manifests"
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]
    cached = folder / f"{name}-{stat.st_size}-{stat.st_mtime_ns}.arrow"
    columns = _read_compiled(cached)
    if columns is None:
        columns = _parse(path)
        if _write_compiled(cached, columns):
            for old in folder.glob(f"{name}-*.arrow"):
                if old != cached:
                    old.unlink(missing_ok=True)
            columns = _read_compiled(cached) or columns
    return columns


def _parse(path: Path) -> _Columns:
    try:
        with path.open(encoding="utf-8-sig") as file:
            lines = ((number, line.rstrip("\n")) for number, line in enumerate(file, 1) if line.strip())
            head = list(islice(lines, 2))
            if len(head) < 2:
                raise ConfigError(_empty(path, len(head)))
            kind, extension = _kind_of(head[1][1])
            rows = lines if kind == "cmsc" else chain(head[1:], lines)
            return _parse_rows(path, rows, kind, head[0][1].strip(), extension)
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not a text file in UTF-8 ({error.reason} at byte {error.start}); expected a .tsv manifest"
        ) from None


def _empty(path: Path, lines: int) -> str:
    found = f"{lines} line" + "s" * (lines != 1)
    return (
        f"{path} is empty ({found}); expected the root on line 1, then one row per line. Make it with "
        f"`ecg-preprocess manifest`"
    )


def _kind_of(line: str) -> tuple[str, str]:
    """Kind and extension by the second line; a wrong number of columns shows when rows are parsed."""
    if re.fullmatch(r"\s*\.?\w+\s*", line):
        return "cmsc", line.strip().lstrip(".")
    return ("identification" if line.count("\t") == 2 else "plain"), ""


def _parse_rows(path: Path, rows: Iterable[tuple[int, str]], kind: str, root: str, extension: str) -> _Columns:
    paths, extras = (_Texts(bytearray(), array("q", [0])) for _ in range(2))
    samples, parts = array("q"), array("i")
    seen: set[int] = set()  # hashes: a tenth of the memory that the rows would take
    for number, line in rows:
        name, count, extra = _parse_row(path, number, line, kind)
        key = hash((name, extra if kind == "cmsc" else ""))
        if key in seen:
            _refuse_duplicate(path, number, line, kind)
        seen.add(key)
        paths.append(name)
        extras.append(extra)
        samples.append(count)
        parts.append(extra.count(",") + 1)
    counts = np.frombuffer(samples, dtype=np.int64), np.frombuffer(parts, dtype=np.int32)
    return _Columns(kind, root, extension, *counts, paths, extras)


def _parse_row(path: Path, number: int, line: str, kind: str) -> tuple[str, int, str]:
    """Path, samples, and the segments or the class as text."""
    columns = line.split("\t")
    if len(columns) != len(COLUMNS[kind]):
        raise _bad_line(path, number, line, kind, f"has {len(columns)} column" + "s" * (len(columns) != 1))
    try:
        count = int(columns[1])
        extra = ""
        if kind != "plain":
            parts = columns[-1].split(",") if kind == "cmsc" else columns[-1:]
            extra = ",".join(str(int(part)) for part in parts)
    except ValueError:
        raise _bad_line(path, number, line, kind, "does not parse") from None
    if not 0 < count < 2**63 or not columns[0].strip() or "\0" in columns[0]:
        raise _bad_line(path, number, line, kind, "has no path or no samples")
    return columns[0], count, extra


def _bad_line(path: Path, number: int, line: str, kind: str, what: str) -> ConfigError:
    expected = "<TAB>".join(COLUMNS[kind])
    return ConfigError(
        f"{path}, line {number} {what}: found {line[:200]!r}; expected {expected} ({kind} manifest). Correct the line "
        f"or make the file again"
    )


def _refuse_duplicate(path: Path, number: int, line: str, kind: str) -> None:
    """Raises: ConfigError naming the earlier line with the same path (cmsc: and segments), if there is one."""

    def key(text: str) -> tuple[str, str]:
        columns = text.rstrip("\n").split("\t")
        return columns[0], columns[-1].strip() if kind == "cmsc" else ""

    with path.open(encoding="utf-8-sig") as file:
        for earlier, text in enumerate(islice(file, number - 1), 1):
            if earlier > 1 and key(text) == key(line):
                name = " ".join(key(line)).strip()
                raise ConfigError(
                    f"{path}, line {number} repeats line {earlier}: {name}. Delete one of them: every row is read "
                    f"once an epoch"
                )


def _write_compiled(path: Path, columns: _Columns) -> bool:
    """Write the Arrow form under a temporary name, then rename. False where the cache folder cannot be written."""
    import pyarrow as pa

    def text(rows: _Texts) -> pa.Array:
        return pa.LargeStringArray.from_buffers(len(rows.ends) - 1, pa.py_buffer(rows.ends), pa.py_buffer(rows.content))

    texts = {"path": text(columns.path), "extra": text(columns.extra)}
    notes = {b"version": CACHE_VERSION, b"kind": columns.kind, b"root": columns.root, b"extension": columns.extension}
    table = pa.table({"samples": columns.samples, "parts": columns.parts, **texts}).replace_schema_metadata(notes)
    try:
        with (
            replacing(path) as partial,
            pa.OSFile(os.fspath(partial), "wb") as file,
            pa.ipc.new_file(file, table.schema) as writer,
        ):
            writer.write_table(table)
    except (OSError, CannotWrite):
        return False
    return True


def _read_compiled(path: Path) -> _Columns | None:
    """Map the Arrow form without copying; None when there is none, or none of this version."""
    if not path.is_file():
        return None
    import pyarrow as pa

    try:
        table = pa.ipc.open_file(pa.memory_map(os.fspath(path))).read_all()
    except (OSError, pa.ArrowInvalid):
        return None
    notes = table.schema.metadata or {}
    if notes.get(b"version") != CACHE_VERSION or table.column("path").num_chunks != 1:
        return None

    def text(name: str) -> _Texts:
        _, ends, values = table.column(name).chunk(0).buffers()
        return _Texts(memoryview(values or b""), np.frombuffer(ends, dtype=np.int64, count=len(table) + 1))

    kind, root, extension = (notes[key].decode() for key in (b"kind", b"root", b"extension"))
    samples, parts = (table.column(name).chunk(0).to_numpy() for name in ("samples", "parts"))
    return _Columns(kind, root, extension, samples, parts, text("path"), text("extra"))
