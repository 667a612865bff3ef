"""Packed records: many segments in a few .npy shards, with an Arrow index beside them.

A packed folder holds `shard_00000.npy` ..., `index.arrow` and the manifests. A shard is a plain .npy file: [records,
leads, samples] where all its records have one shape, else one-dimensional. A record's address in a manifest is
`shard.npy:offset:bytes`, counted from the beginning of the file. The index has one row per record, sorted by shard and
offset, in batches that begin with a shard:

shard           number of the name in the metadata
offset, bytes   where the record lies in the file
leads, rate     rate in Hz
dtype           float32 or int16
scale, step     a number for each lead: int16 x scale = value, or int16 x step, rounded to float32 = value; else null
exact           whether int16 gives the float32 of the file to the bit; false for float32 of a file with more digits
idx, patient    patient -1: unknown, null: the source names no patients
label           the labels that the file itself holds; null where it holds none
source          the file it was made from
tracks          annotations of every sample that the file holds, see `tracks_as_bytes`; null where it holds none

The metadata say of every shard its name (`shards`) and its size and digests (`facts`, see ShardFacts). An index of an
earlier version lacks step, exact, label, tracks and facts.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.data.arrow_columns import numbers_of
from ecg_signals.data.manifest import Slice
from ecg_signals.data.segment import Segment
from ecg_signals.files import replacing
from ecg_signals.limits import regular_file

INDEX = "index.arrow"
COLUMNS = ("shard", "offset", "bytes", "leads", "rate", "dtype", "scale", "idx", "patient")
TOLD = ("rate", "dtype", "scale", "step", "idx", "patient", "label")  # what is read of a row besides its place
LATER = ("step", "exact", "label", "source", "tracks")  # columns that an index may lack
DTYPES = {name.encode(): np.dtype(name) for name in ("float32", "int16")}
ENDS_BYTES = 4096
AT_ONCE = 10_000  # names that are looked at together


@dataclass(frozen=True)
class ShardFacts:
    """A shard as a whole: its size, the SHA-256 of the file, and a digest of its first and last bytes.

    The latter tells at once, without reading all of it, whether a shard is the one that the index describes.
    """

    bytes: int
    sha256: str
    ends: str


@dataclass
class Index:
    """A mapped index: Arrow record batches, and what its metadata say of the shards (no facts: an earlier version)."""

    path: Path
    batches: list[Any]
    names: list[str]
    facts: list[ShardFacts | None]
    notes: Mapping[bytes, bytes]

    @property
    def rows(self) -> int:
        return sum(batch.num_rows for batch in self.batches)

    def _batch(self, row: int) -> tuple[Any, int]:
        """The batch of a row, and the row in it."""
        number = int(self._behind.searchsorted(row, side="right"))
        return self.batches[number], row - int(self._behind[number]) + self.batches[number].num_rows

    @cached_property
    def _behind(self) -> np.ndarray:
        """[batches] the row behind each."""
        return np.cumsum([batch.num_rows for batch in self.batches])

    def source(self, row: int) -> str:
        batch, row = self._batch(row)
        return batch.column("source")[row].as_py() or ""

    def address(self, row: int) -> Slice:
        batch, row = self._batch(row)
        shard, offset, size = (batch.column(name)[row].as_py() for name in ("shard", "offset", "bytes"))
        return Slice(self.names[shard], offset, size)

    def by_shard(self) -> Iterator[tuple[int, Any]]:
        """The number of every shard that has rows, and these as a batch, in the order of the index."""
        for batch in self.batches:
            numbers = numbers_of(batch.column("shard"))
            there = np.arange(max(0, int(numbers[0])), min(len(self.names), int(numbers[-1]) + 1), dtype=numbers.dtype)
            firsts = numbers.searchsorted(there).tolist()
            behinds = numbers.searchsorted(there, side="right").tolist()
            for number, first, behind in zip(there.tolist(), firsts, behinds):
                if behind > first:
                    yield number, batch.slice(first, behind - first)


class PackedStore:
    """Reads records of one packed folder by address; shards and index are memory-mapped, shared by all processes."""

    def __init__(self, folder: str | os.PathLike[str], index: Path | None = None) -> None:
        """`index`: where it lies, if not in the folder."""
        self.folder = os.fspath(folder)
        self.index = read_index(index or Path(folder, INDEX))
        self._facts = dict(zip(self.index.names, self.index.facts, strict=True))
        self._batches = _batches_by_shard(self.index)
        self._rows: dict[str, _Rows] = {}
        self._mapped: dict[str, np.ndarray] = {}
        self._names: Lookup | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.folder,)

    def __len__(self) -> int:
        return self.index.rows

    def read(self, address: Slice) -> Segment:
        """The record at `address`, or part of it that is a segment; a view of the shard when that holds float32.

        Raises: ConfigError when the index knows no such record, or says of it what cannot be, and when the shard is
            missing or truncated.
        """
        rows, row = self._find(address)
        rate, stored_as, scale, step, idx, patient, label = [column[row] for column in rows.told]
        leads, dtype = int(rows.leads[row]), DTYPES.get(stored_as)
        steps = scale if step is None else step
        width = 0 if dtype is None else leads * dtype.itemsize
        fits = width > 0 and address.bytes and address.bytes % width == 0
        if dtype is None or not fits or (steps is not None and len(steps) != leads):
            raise ConfigError(
                f"{self.index.path}, row {rows.first + row}: {address} cannot be {leads} leads of the type and the "
                f"scales it states. Use the manifests that `ecg-pack` wrote into {self.folder}, or make the store again"
            )
        signal = self._content(address).view(dtype).reshape(leads, -1)
        if step is not None:
            signal = (signal * step[:, None]).astype(np.float32)
        elif scale is not None:
            signal = signal * scale[:, None]
        known = None if patient is None or patient < 0 else patient
        return Segment(f"{self.folder}/{address}", signal, rate, idx, known, label, patient is not None)

    def tracks(self, address: Slice) -> dict[str, np.ndarray]:
        """Annotations of every sample of the record at `address`, [..., samples], by name; none of a part of one.

        Raises: ConfigError as `read`.
        """
        rows, row = self._find(address)
        content = rows.tracks[row] if (rows.offset[row], rows.bytes[row]) == address[1:] else None
        try:
            return {} if content is None else _tracks(content)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise _no_index(self.index.path, error) from None

    def named(self, name: str) -> Slice | None:
        """The record of the file whose path is `name` or ends with it; None where there is none.

        Raises: ConfigError where several do.
        """
        if self._names is None:
            hashes = [np.array([hash(os.path.basename(path)) for path in paths], np.int64)
                      for paths in sources(self.index.batches)]  # fmt: skip
            self._names = Lookup(np.concatenate([np.empty(0, np.int64), *hashes]))
        found = [row for row in self._names.rows(hash(os.path.basename(name))) if _ends(self.index.source(row), name)]
        if len(found) > 1:
            raise ConfigError(
                f"{self.folder} holds {len(found)} records of files called {name}, such as "
                f"{self.index.source(found[0])} and {self.index.source(found[1])}; name more of the path"
            )
        return self.index.address(found[0]) if found else None

    def shape(self, address: Slice) -> tuple[int, int] | None:
        """Leads and samples at `address` as the index tells; None where it knows no such record."""
        try:
            rows, row = self._find(address)
        except ConfigError:
            return None
        leads, dtype = int(rows.leads[row]), DTYPES.get(rows.told[TOLD.index("dtype")][row])
        width = leads * dtype.itemsize if dtype else 0
        return (leads, address.bytes // width) if width > 0 and address.bytes % width == 0 else None

    def _find(self, address: Slice) -> "tuple[_Rows, int]":
        """Where the index tells of the record whose bytes hold those of `address`."""
        rows = self._rows.get(address.shard) or self._open(address.shard)
        if rows is not None:
            row = int(rows.offset.searchsorted(address.offset, side="right")) - 1
            if row >= 0 and address.offset + address.bytes <= rows.offset[row] + rows.bytes[row]:
                return rows, row
        raise ConfigError(
            f"{address} is not in {self.index.path}: manifest and store belong to different runs. Use the "
            f"manifests that `ecg-pack` wrote into {self.folder}"
        )

    def _open(self, shard: str) -> "_Rows | None":
        """The rows of a shard, None where the index does not know it."""
        if shard not in self._batches:
            return None
        try:
            self._rows[shard] = _Rows(*self._batches[shard])
        except ValueError as error:  # a buffer that does not end with a value
            raise _no_index(self.index.path, error) from None
        return self._rows[shard]

    def _content(self, address: Slice) -> np.ndarray:
        mapped = self._mapped.get(address.shard)
        if mapped is None:
            mapped = self._mapped[address.shard] = self._map(address.shard)
        found = mapped[address.offset : address.offset + address.bytes]
        if len(found) != address.bytes:
            raise ConfigError(
                f"{self.folder}/{address.shard} is truncated: it ends before {address}. {_remake(self.folder)}"
            )
        return found

    def _map(self, name: str) -> np.ndarray:
        """The bytes of a shard, once it is seen to be the one that the index describes."""
        path = Path(self.folder, name)
        if not path.exists():
            raise ConfigError(f"{path} is missing, which {INDEX} beside it names. {_remake(self.folder)}")
        try:
            mapped = np.asarray(np.memmap(regular_file(path), dtype=np.uint8, mode="r"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} cannot be mapped: {error}. {_remake(self.folder)}") from None
        facts = self._facts[name]
        if facts is not None and len(mapped) != facts.bytes:
            raise ConfigError(
                f"{path} is truncated or of another store: it has {len(mapped):,} bytes, and {INDEX} says "
                f"{facts.bytes:,}. {_remake(self.folder)}"
            )
        if facts is not None and ends_digest(mapped) != facts.ends:
            raise ConfigError(
                f"{path} is not the shard that {INDEX} beside it describes: it is damaged, or one of them is of "
                f"another store. {_remake(self.folder)}"
            )
        return mapped


def _remake(folder: str) -> str:
    return f"`ecg-pack verify {folder}` finds all that is wrong; delete what it names and run `ecg-pack` again"


def ends_digest(content: np.ndarray) -> str:
    """Of the first and last ENDS_BYTES bytes of a file, uint8."""
    ends = bytes(content[:ENDS_BYTES]) + bytes(content[-ENDS_BYTES:])
    return hashlib.blake2b(ends, digest_size=16).hexdigest()


def facts_of(path: Path) -> ShardFacts:
    """Reads all of a shard."""
    with path.open("rb") as file:
        whole = hashlib.file_digest(file, "sha256").hexdigest()
    return ShardFacts(path.stat().st_size, whole, ends_digest(np.memmap(path, np.uint8, "r")))


def read_index(path: Path) -> Index:
    """Maps an index without copying.

    Raises: ConfigError when the file is missing or is not the index of a packed store.
    """
    if not path.is_file():
        raise ConfigError(f"{path} does not exist; packed shards need it beside them. Make both with `ecg-pack`")
    import pyarrow as pa

    try:
        file = pa.ipc.open_file(pa.memory_map(os.fspath(path)))
        schema, expected = file.schema, _schema()
        notes = schema.metadata or {}
        present = [*COLUMNS, *(name for name in LATER if name in schema.names)]
        wrong = [name for name in present if schema.field(name).type != expected.field(name).type]
        if wrong:
            raise ValueError(f"{wrong[0]} is of type {schema.field(wrong[0]).type}")
        batches = [file.get_batch(number) for number in range(file.num_record_batches)]
        for batch in batches:
            batch.validate()  # that buffers are as long as the columns; what a row says is checked when it is read
            holes = [name for name in COLUMNS[:4] if batch.column(name).null_count]
            if holes:
                raise ValueError(f"{holes[0]} has rows without a value")
        names = _shard_names(path, notes[b"shards"])
        return Index(path, [batch for batch in batches if batch.num_rows], names, _facts(notes, len(names)), notes)
    except (OSError, pa.ArrowException, KeyError, IndexError, ValueError, TypeError, RecursionError) as error:
        raise _no_index(path, error) from None


def _no_index(path: Path, error: Exception) -> ConfigError:
    return ConfigError(
        f"{path} is not the index of a packed store ({error}); delete it and make it again with `ecg-pack`"
    )


def _shard_names(path: Path, listed: bytes) -> list[str]:
    try:
        names = json.loads(listed)
        if all(isinstance(name, str) and name == os.path.basename(name) for name in names):
            return list(names)
    except (ValueError, TypeError, RecursionError):
        pass
    raise ConfigError(f"{path} names no shards: found {listed[:80]!r}; make it again with `ecg-pack`")


def _facts(notes: Mapping[bytes, bytes], shards: int) -> list[ShardFacts | None]:
    if b"facts" not in notes:
        return [None] * shards
    found = [None if facts is None else ShardFacts(**facts) for facts in json.loads(notes[b"facts"])]
    if len(found) != shards or any(facts and type(facts.bytes) is not int for facts in found):
        raise ValueError(f"it tells of {len(found)} shards and names {shards}")
    return found


def sources(batches: Iterable[Any]) -> Iterator[list[str]]:
    """The file that every record was made from, many at a time. Raises: ConfigError where an index does not say."""
    for batch in batches:
        if "source" not in batch.schema.names:
            raise ConfigError(
                "its index does not say what files its records were made from; make another store with `ecg-pack`"
            )
        column = batch.column("source")
        for start in range(0, len(column), AT_ONCE):
            yield [text or "" for text in column.slice(start, AT_ONCE).to_pylist()]


class _Rows:
    """The rows of one shard, by number: a part of a batch.

    Attributes:
        first: the number of the first among the rows of the whole index.
        offset, bytes, leads: [rows].
        told: a column for each name of TOLD.
        tracks: that column.
    """

    def __init__(self, batch: Any, first: int) -> None:
        self.first = first
        self.offset, self.bytes, self.leads = (numbers_of(batch.column(name)) for name in ("offset", "bytes", "leads"))
        self.told = [_told(batch, name) for name in TOLD]
        self.tracks = _told(batch, "tracks")


def _batches_by_shard(index: Index) -> dict[str, tuple[Any, int]]:
    """Each shard's rows as a batch, and how many stand before them in the index."""
    found: dict[str, tuple[Any, int]] = {}
    first = 0
    for number, batch in index.by_shard():
        found[index.names[number]] = batch, first
        first += batch.num_rows
    return found


class Lookup:
    """Rows by number: `keys` [rows] int64, which need not differ."""

    def __init__(self, keys: np.ndarray) -> None:
        order = np.argsort(keys, kind="stable")
        self._order, self._keys = order, keys[order]

    def rows(self, key: int) -> list[int]:
        first, behind = self._keys.searchsorted(key), self._keys.searchsorted(key, side="right")
        return self._order[first:behind].tolist()


def _ends(path: str, name: str) -> bool:
    return path == name or path.endswith(f"/{name}")


def _told(batch: Any, name: str) -> "_Column | _Same":
    if name not in batch.schema.names or batch.column(name).null_count == batch.num_rows:
        return _Same(None)
    column = _Column(batch.column(name))
    ends, first = column.ends, column[0]
    if name != "dtype" or ends is None or first is None:
        return column
    ends = ends[column.first_row : column.first_row + batch.num_rows + 1]
    alike = ends[0] >= 0 and (np.diff(ends) == len(first)).all() and batch.column(name).null_count == 0
    texts = bytes(column.values[ends[0] : ends[-1]]) if alike else b""
    return _Same(first) if texts == first * batch.num_rows else column


class _Same:
    """A column with one value in all rows, such as None where an index lacks it."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __getitem__(self, row: int) -> Any:
        return self.value


class _Column:
    """One column of the index by row; None where it has no value.

    Numbers are Python's, texts bytes, lists arrays. Arrow itself trusts the ends of texts and lists that a file
    states, and would read beyond its memory.
    """

    def __init__(self, column: Any) -> None:
        valid, first, *rest = column.buffers()
        self.first_row, kind = column.offset, str(column.type)
        self.valid = None if valid is None else np.frombuffer(valid, np.uint8)
        wide = np.int64 if kind.startswith("large") else np.int32
        self.ends = None if kind in ("double", "int64") else np.frombuffer(first, wide)
        if self.ends is None:
            self.values: Any = np.frombuffer(first, np.float64 if kind == "double" else np.int64)
        elif kind in ("string", "large_binary"):
            self.values = memoryview(rest[-1] or b"")
        else:
            self.values = numbers_of(column.values)

    def __getitem__(self, row: int) -> Any:
        """Raises: ConfigError for a value that would lie outside the column."""
        row += self.first_row
        if self.valid is not None and not self.valid[row >> 3] >> (row & 7) & 1:
            return None
        if self.ends is None:
            return self.values[row].item()
        first, last = self.ends[row : row + 2].tolist()
        if not 0 <= first <= last <= len(self.values):
            raise ConfigError(f"{INDEX} is damaged in row {row}; make the store again with `ecg-pack`")
        found = self.values[first:last]
        return bytes(found) if isinstance(found, memoryview) else found


def _schema() -> Any:
    import pyarrow as pa

    return pa.schema(
        {
            "shard": pa.int32(), "offset": pa.int64(), "bytes": pa.int64(), "leads": pa.int32(), "rate": pa.float64(),
            "dtype": pa.string(), "scale": pa.list_(pa.float32()), "step": pa.list_(pa.float64()), "exact": pa.bool_(),
            "idx": pa.int64(), "patient": pa.int64(), "label": pa.list_(pa.float64()), "source": pa.large_string(),
            "tracks": pa.large_binary(),
        }
    )  # fmt: skip


def tracks_as_bytes(tracks: Mapping[str, np.ndarray]) -> bytes | None:
    """A line of json, name -> [dtype, shape], then the arrays of numbers behind one another; None for none."""
    if not tracks:
        return None
    head = {name: [track.dtype.str, list(track.shape)] for name, track in tracks.items()}
    return json.dumps(head).encode() + b"\n" + b"".join(track.tobytes() for track in tracks.values())


def _tracks(content: bytes) -> dict[str, np.ndarray]:
    """Raises: ValueError, TypeError, AttributeError and RecursionError for what `tracks_as_bytes` did not make."""
    head, _, rest = content.partition(b"\n")
    found, end = {}, 0
    for name, (dtype, shape) in json.loads(head).items():
        kind = np.dtype(str(dtype))
        if kind.kind not in "biuf" or not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError(f"a track is {dtype} {shape}")
        start, end = end, end + kind.itemsize * math.prod(shape)
        found[name] = np.frombuffer(rest[start:end], kind).reshape(shape)
    return found


def row_batch(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Records of one shard, mappings with COLUMNS and LATER, as an Arrow record batch."""
    import pyarrow as pa

    return pa.RecordBatch.from_pylist(list(rows), schema=_schema())


def completed_batch(batch: Any) -> Any:
    """A batch of an earlier index with the columns of today's."""
    import pyarrow as pa

    columns = [
        batch.column(field.name) if field.name in batch.schema.names else pa.nulls(batch.num_rows, field.type)
        for field in _schema()
    ]
    return pa.RecordBatch.from_arrays(columns, schema=_schema())


def write_index(
    path: Path, batches: Iterable[Any], names: Sequence[str], facts: Sequence[ShardFacts | None], **notes: str
) -> None:
    """Write record batches as one Arrow file, atomically, one in memory at a time."""
    import pyarrow as pa

    told = [None if one is None else asdict(one) for one in facts]
    schema = _schema().with_metadata({"shards": json.dumps(list(names)), "facts": json.dumps(told), **notes})
    with (
        replacing(path, durable=True) as partial,
        pa.OSFile(os.fspath(partial), "wb") as file,
        pa.ipc.new_file(file, schema) as writer,
    ):
        for batch in batches:
            writer.write_batch(batch.replace_schema_metadata(schema.metadata))
