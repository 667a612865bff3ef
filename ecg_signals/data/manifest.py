"""Manifests: the .tsv files that list what a split holds; one parser for every kind.

kind            line 1   line 2      every further line, tab separated
plain           root     -           path, samples
cmsc            root     extension   stem, samples, 0, segment numbers such as 0,1
identification  root     -           path, samples, class

A path may be a packed address, `shard.npy:offset:bytes`; in a cmsc manifest, whose line 2 is then `npy`, it spans
the row's segments one after the other. Large manifests are compiled once into an Arrow file that every process maps.
"""

import codecs
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

import numpy as np

from ecg_signals.config import ConfigError, resolve_input
from ecg_signals.data.arrow_columns import numbers_of
from ecg_signals.data.manifest_rows import Rows, numbers, parse_block, rows_of
from ecg_signals.data.remote import cache_folder, is_url
from ecg_signals.files import CannotWrite, replacing
from ecg_signals.limits import regular_file
from ecg_signals.readers.npy_file import load_npy

COLUMNS = {
    "plain": ("path", "samples"),
    "cmsc": ("stem", "samples", "0", "segments"),
    "identification": ("path", "samples", "class"),
}
DATASETS = {"plain": "ecg_file", "cmsc": "cmsc", "identification": "identification"}  # what usually reads a kind
CACHE_FROM_BYTES = 4 << 20  # manifests from this size on are compiled
BLOCK_BYTES = 1 << 20  # of a manifest, parsed together
LABELS_AT_ONCE = 1 << 18
CACHE_VERSION = b"1"
CACHE_DIR = "ECG_SIGNALS_CACHE"  # environment variable: where compiled manifests lie


class Slice(NamedTuple):
    """A packed address: `bytes` bytes of `shard` from byte `offset` on."""

    shard: str
    offset: int
    bytes: int

    @classmethod
    def parse(cls, address: str) -> "Slice | None":
        """`shard.npy:offset:bytes` -> Slice; None for an ordinary path."""
        if not address[-1:].isdecimal():  # which is quick to see
            return None
        shard, offset, size = [*address.rsplit(":", 2), "", ""][:3]
        whole = len(shard) > 4 and shard.endswith(".npy") and offset.isdecimal() and size.isdecimal()
        return cls(shard, int(offset), int(size)) if whole else None

    def __str__(self) -> str:
        return f"{self.shard}:{self.offset}:{self.bytes}"


class Listing(Protocol):
    """What lists the items of a dataset of segments.

    Attributes:
        path: the file.
        root: the folder that addresses follow, or its URL.
        samples: [items] int64, samples of each.
    """

    path: Path

    @property
    def root(self) -> Path | str: ...
    @property
    def samples(self) -> np.ndarray: ...

    def addresses(self, index: int) -> list[str]:
        """One address per segment of an item, for the dataset's source."""


class _Texts:
    """A column of text as one run of bytes, and where each row's text ends, starting with 0."""

    def __init__(self, content: Any, ends: Any) -> None:
        self.content, self.ends = content, ends

    def __getitem__(self, row: int) -> str:
        return bytes(self.content[self.ends[row] : self.ends[row + 1]]).decode()

    def block(self, first: int, behind: int) -> list[str]:
        """Those of many rows."""
        ends = self.ends[first : behind + 1].tolist()
        whole = bytes(self.content[ends[0] : ends[-1]])
        return [whole[start - ends[0] : end - ends[0]].decode() for start, end in pairwise(ends)]


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
    compiled: Path | None = None  # the file that they are mapped from


class Manifest:
    """The rows of one manifest, by number; see the module's table.

    Attributes:
        path: the .tsv file.
        kind: plain, cmsc or identification.
        root: the folder that addresses follow, or its URL.
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
        self._keep, self.samples = self._select(min_samples)
        self.root: Path | str = _resolve_root(self.path, self._columns.root)

    @property
    def parts(self) -> np.ndarray:
        """[rows] int32, the segments that each row of a cmsc manifest names; an odd last one is not taken."""
        return self._columns.parts if self._keep is None else self._columns.parts[self._keep]

    def __reduce__(self) -> tuple[Any, ...]:
        return Manifest, self._arguments

    def __len__(self) -> int:
        return len(self.samples)

    def _select(self, min_samples: int | None) -> tuple[np.ndarray | None, np.ndarray]:
        """Rows to keep, None for all: long enough and, for cmsc, with at least two segments; and their samples."""
        columns, several = self._columns, self._columns.kind == "cmsc"
        if min_samples is None and not several and len(columns.samples):
            return None, columns.samples
        kept = columns.compiled and columns.compiled.with_suffix(f".{min_samples}.npy")
        if kept and kept.is_file():
            rows, samples = load_npy(kept, mapped=True)
            return rows, samples
        keep = np.ones(len(columns.samples), dtype=bool)
        if min_samples is not None:
            keep &= columns.samples >= min_samples
        if several:
            keep &= columns.parts >= 2
        if not keep.any():
            reason = f"all {len(keep)} rows are shorter than min_sample_size={min_samples}"
            if min_samples is None or not len(keep):
                reason = "none of its rows has two segments" if len(keep) else "it has no rows"
            raise ConfigError(f"{self.path} is empty: {reason}. Make it again with `ecg-preprocess manifest`")
        if keep.all():
            return None, columns.samples
        rows = np.flatnonzero(keep)
        return _mapped(kept, rows, columns.samples[rows]) if kept else (rows, columns.samples[rows])

    def _row(self, index: int) -> int:
        return int(index if self._keep is None else self._keep[index])

    def stem(self, index: int) -> str:
        """The first column of row `index`, for plugins."""
        return self._columns.path[self._row(index)]

    def label(self, index: int) -> int:
        """Class of an identification row."""
        return int(self._columns.extra[self._row(index)])

    @cached_property
    def last_label(self) -> int:
        """The largest class of an identification manifest."""
        content, ends = np.frombuffer(self._columns.extra.content, np.uint8), self._columns.extra.ends
        largest = 0
        for start in range(0, len(self), LABELS_AT_ONCE):
            rows = np.arange(start, min(start + LABELS_AT_ONCE, len(self)))
            rows = rows if self._keep is None else self._keep[rows]
            found = numbers(content, ends[rows], ends[rows + 1])  # None where one is negative, say
            largest = max(
                largest, max(int(self._columns.extra[row]) for row in rows.tolist()) if found is None else found.max()
            )
        return int(largest)

    def addresses(self, index: int) -> list[str]:
        """What row `index` names, relative to the root: one path or packed address per segment."""
        row = self._row(index)
        path = self._columns.path[row]
        return [path] if self.kind != "cmsc" else self._segments(path, self._columns.extra[row])

    def addresses_of(self, first: int, behind: int) -> list[list[str]]:
        """What rows `first` to `behind` - 1 name, quickly."""
        if self._keep is not None:
            return [self.addresses(row) for row in range(first, behind)]
        paths = self._columns.path.block(first, behind)
        if self.kind != "cmsc":
            return [[path] for path in paths]
        return [self._segments(*row) for row in zip(paths, self._columns.extra.block(first, behind))]

    def _segments(self, path: str, segments: str) -> list[str]:
        """What a cmsc row names: `segments` of the record `path`, the last of an odd number left out."""
        places = segments.split(",")
        even = len(places) // 2 * 2
        packed = Slice.parse(path)
        if packed:
            size = packed.bytes // len(places)
            return [f"{packed.shard}:{packed.offset + position * size}:{size}" for position in range(even)]
        return [f"{path}_{number}.{self._columns.extension}" for number in places[:even]]

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


def _resolve_root(path: Path, root: str) -> Path | str:
    """The root as it stands, relative to where the command was typed, or relative to the manifest; or a URL."""
    if is_url(root):
        return root.rstrip("/")
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
    folder = cache_folder() / "manifests"
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]
    cached = folder / f"{name}-{stat.st_size}-{stat.st_mtime_ns}.arrow"
    columns = _read_compiled(cached)
    if columns is None:
        columns = _parse(path)
        if _write_compiled(cached, columns):
            for old in folder.glob(f"{name}-*"):
                if old != cached:
                    old.unlink(missing_ok=True)
            columns = _read_compiled(cached) or columns
    return columns


def _parse(path: Path) -> _Columns:
    try:
        with path.open("rb") as file:
            blocks = _blocks(file)
            first = next(blocks, b"").removeprefix(codecs.BOM_UTF8)
            head = list(islice(_lines(first), 2))
            if len(head) < 2:
                raise ConfigError(_empty(path, len(head)))
            kind, extension = _kind_of(head[1].text)
            rows_begin = head[1].behind if kind == "cmsc" else head[0].behind
            skipped = head[1].number if kind == "cmsc" else head[0].number
            columns = _parse_rows(path, chain([first[rows_begin:]], blocks), kind, skipped)
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not a text file in UTF-8 ({error.reason} at byte {error.start}); expected a .tsv manifest"
        ) from None
    return replace(columns, root=head[0].text.strip(), extension=extension)


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """Whole lines, some megabytes at a time, that end as Unix ends them."""
    while block := file.read(BLOCK_BYTES):
        block += file.readline()
        yield block.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in block else block


class _Line(NamedTuple):
    number: int  # of the line in its block, from 1 on
    text: str
    behind: int  # where the next one begins


def _lines(block: bytes) -> Iterator[_Line]:
    """The lines of a block that are not blank."""
    number = behind = 0
    while behind < len(block):
        start, number = behind, number + 1
        behind = block.find(b"\n", start) + 1 or len(block)
        text = block[start:behind].decode().rstrip("\n")
        if text.strip():
            yield _Line(number, text, behind)


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


def _parse_rows(path: Path, blocks: Iterable[bytes], kind: str, skipped: int) -> _Columns:
    """The rows of blocks of lines, of which `skipped` stand before the first. Root and extension are left empty."""
    columns = {name: bytearray() for name in Rows._fields}  # which grow, and are given back whole
    for block in blocks:
        rows = parse_block(block, kind) or _parse_slowly(path, block, kind, skipped)
        skipped += block.count(b"\n")
        for name, column in columns.items():
            column += getattr(rows, name).data
    dtypes = {"samples": np.int64, "keys": np.uint64}
    samples, parts, keys, path_sizes, extra_sizes = (
        np.frombuffer(columns[name], dtypes.get(name, np.int32)) for name in Rows._fields[2:]
    )
    texts = _Texts(columns["paths"], _ends(path_sizes)), _Texts(columns["extras"], _ends(extra_sizes))
    _refuse_duplicates(path, kind, keys, *texts)
    return _Columns(kind, "", "", samples, parts, *texts)


def _ends(sizes: np.ndarray) -> np.ndarray:
    """[rows + 1] int64 where each of texts of these sizes ends, beginning with 0."""
    ends = np.zeros(len(sizes) + 1, dtype=np.int64)  # no memory before something is written
    if sizes.any():
        np.cumsum(sizes, out=ends[1:])
    return ends


def _parse_slowly(path: Path, block: bytes, kind: str, skipped: int) -> Rows:
    """As `parse_block`, line by line, whatever they look like. Raises: ConfigError naming the first that is wrong."""
    rows = [_parse_row(path, skipped + line.number, line.text, kind) for line in _lines(block)]
    names, counts, extras = zip(*rows) if rows else ((), (), ())
    return rows_of([name.encode() for name in names], counts, [extra.encode() for extra in extras], kind)


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


def _refuse_duplicates(path: Path, kind: str, keys: np.ndarray, names: _Texts, extras: _Texts) -> None:
    """Raises: ConfigError naming the first line with the same path (cmsc: and segments) as an earlier one.

    Args:
        keys: [rows] equal for such rows, and hardly ever for others.
    """
    ordered = np.sort(keys)
    suspects = ordered[1:][ordered[1:] == ordered[:-1]]
    seen: dict[tuple[str, str], int] = {}
    for row in np.flatnonzero(np.isin(keys, suspects)).tolist() if len(suspects) else ():
        key = names[row], extras[row] if kind == "cmsc" else ""
        if key in seen:
            earlier, number = _numbers_of_lines(path, kind, seen[key], row)
            raise ConfigError(
                f"{path}, line {number} repeats line {earlier}: {' '.join(key).strip()}. Delete one of them: every row "
                f"is read once an epoch"
            )
        seen[key] = row


def _numbers_of_lines(path: Path, kind: str, *rows: int) -> list[int]:
    """Where rows stand in a manifest."""
    with path.open(encoding="utf-8-sig") as file:
        filled = (number for number, line in enumerate(file, 1) if line.strip())
        numbers = list(islice(filled, 2 if kind == "cmsc" else 1, None))
    return [numbers[row] for row in rows]


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
            replacing(path, durable=True) as partial,  # what is not on the disk yet counts as its process's own
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
    samples, parts = (numbers_of(table.column(name).chunk(0)) for name in ("samples", "parts"))
    return _Columns(kind, root, extension, samples, parts, text("path"), text("extra"), path)


def _mapped(path: Path, rows: np.ndarray, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both, int64, in a file that all processes share; as they are where it cannot be written."""
    try:
        with replacing(path) as partial, partial.open("wb") as file:
            np.save(file, np.stack([rows, samples]))
        rows, samples = load_npy(path, mapped=True)
    except (OSError, CannotWrite):
        pass
    return rows, samples
