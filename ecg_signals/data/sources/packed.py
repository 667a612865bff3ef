"""Packed records: many segments in a few .npy shards, with an Arrow index beside them.

A packed folder holds `shard_00000.npy` ..., `index.arrow` and the manifests. A shard is a plain .npy file: [records,
leads, samples] where all its records have one shape, else one-dimensional. A record's address in a manifest is
`shard.npy:offset:bytes`, counted from the beginning of the file. The index has one row per record, sorted by shard and
offset: shard (number of the name in the table's metadata), offset, bytes, leads, rate (Hz), dtype, scale (one number
per lead, int16 x scale = value; null for float32), idx, patient (-1: unknown, null: the source names no patients) and
source (the file it was made from).
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.data.manifest import Slice
from ecg_signals.data.segment import Segment
from ecg_signals.files import replacing
from ecg_signals.limits import regular_file

INDEX = "index.arrow"
COLUMNS = ("shard", "offset", "bytes", "leads", "rate", "dtype", "scale", "idx", "patient")
DTYPES = {name.encode(): np.dtype(name) for name in ("float32", "int16")}


class PackedStore:
    """Reads records of one packed folder by address; shards and index are memory-mapped, shared by all processes."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        columns, notes = read_index(self.folder / INDEX)
        self._numbers = {name: number for number, name in enumerate(_shard_names(self.folder / INDEX, notes))}
        try:
            self._column = {name: _Column(columns[name]) for name in ("rate", "dtype", "scale", "idx", "patient")}
            self._shard, self._offset, self._bytes, self._leads = (
                columns[name].to_numpy() for name in ("shard", "offset", "bytes", "leads")
            )
        except ValueError as error:  # a buffer that does not end with a value
            raise _no_index(self.folder / INDEX, error) from None
        self._mapped: dict[str, np.ndarray] = {}

    def __reduce__(self) -> tuple[type["PackedStore"], tuple[Path]]:
        return PackedStore, (self.folder,)

    def __len__(self) -> int:
        return len(self._offset)

    def read(self, address: Slice) -> Segment:
        """The record at `address`, or part of it that is a segment; a view of the shard when that holds float32.

        Raises: ConfigError when the index knows no such record, or says of it what cannot be, and when the shard is
            missing or truncated.
        """
        row = self._find(address)
        rate, stored_as, scale, idx, patient = (column[row] for column in self._column.values())
        leads, dtype = int(self._leads[row]), DTYPES.get(stored_as)
        scales = leads if scale is None else len(scale)
        width = 0 if dtype is None else leads * dtype.itemsize
        if dtype is None or width <= 0 or address.bytes % width or not address.bytes or scales != leads:
            raise ConfigError(
                f"{self.folder / INDEX}, row {row}: {address} cannot be {leads} leads of the type and the scales it "
                f"states. Use the manifests that `ecg-pack` wrote into {self.folder}, or make the store again"
            )
        signal = self._content(address).view(dtype).reshape(leads, -1)
        if scale is not None:
            signal = signal * scale[:, None]
        known = None if patient is None or patient < 0 else patient
        return Segment(f"{self.folder}/{address}", signal, rate, idx, known, names_patient=patient is not None)

    def _find(self, address: Slice) -> int:
        """The index row whose bytes hold those of `address`."""
        number = self._numbers.get(address.shard)
        if number is not None:
            first, behind = np.searchsorted(self._shard, (number, number + 1))
            row = int(first + np.searchsorted(self._offset[first:behind], address.offset, side="right")) - 1
            if row >= first and address.offset + address.bytes <= self._offset[row] + self._bytes[row]:
                return row
        raise ConfigError(
            f"{address} is not in {self.folder / INDEX}: manifest and store belong to different runs. Use the "
            f"manifests that `ecg-pack` wrote into {self.folder}"
        )

    def _content(self, address: Slice) -> np.ndarray:
        path = self.folder / address.shard
        if address.shard not in self._mapped:
            try:
                self._mapped[address.shard] = np.asarray(np.memmap(regular_file(path), dtype=np.uint8, mode="r"))
            except (OSError, ValueError) as error:
                raise ConfigError(f"{path} cannot be mapped: {error}. Make the store again with `ecg-pack`") from None
        found = self._mapped[address.shard][address.offset : address.offset + address.bytes]
        if len(found) != address.bytes:
            raise ConfigError(f"{path} is truncated: it ends before {address}. Make the store again with `ecg-pack`")
        return found


def read_index(path: Path) -> tuple[Mapping[str, Any], Mapping[bytes, bytes]]:
    """Arrow columns by name, mapped without copying, and the table's metadata.

    Raises: ConfigError when the file is missing or is not the index of a packed store.
    """
    if not path.is_file():
        raise ConfigError(f"{path} does not exist; packed shards need it beside them. Make both with `ecg-pack`")
    import pyarrow as pa

    try:
        table = pa.ipc.open_file(pa.memory_map(os.fspath(path))).read_all()
        table.validate()  # that buffers are as long as the columns; what a row says is checked when it is read
        notes = table.schema.metadata or {}
        wrong = [name for name in COLUMNS if table.schema.field(name).type != _schema().field(name).type]
        if wrong:
            raise ValueError(f"{wrong[0]} is of type {table.schema.field(wrong[0]).type}")
        holes = [name for name in COLUMNS[:4] if table.column(name).null_count]
        if holes:
            raise ValueError(f"{holes[0]} has rows without a value")
        return {name: table.column(name).chunk(0) for name in COLUMNS}, {b"shards": notes[b"shards"], **notes}
    except (OSError, pa.ArrowException, KeyError, IndexError, ValueError) as error:
        raise _no_index(path, error) from None


def _no_index(path: Path, error: Exception) -> ConfigError:
    return ConfigError(f"{path} is not the index of a packed store ({error}); make it again with `ecg-pack`")


def _shard_names(path: Path, notes: Mapping[bytes, bytes]) -> list[str]:
    try:
        names = json.loads(notes[b"shards"])
        if all(isinstance(name, str) and name == os.path.basename(name) for name in names):
            return list(names)
    except (ValueError, TypeError, RecursionError):
        pass
    raise ConfigError(f"{path} names no shards: found {notes[b'shards'][:80]!r}; make it again with `ecg-pack`")


class _Column:
    """One column of the index by row; None where it has no value.

    Numbers are Python's, texts bytes, lists arrays. Arrow itself trusts the ends of texts and lists that a file
    states, and would read beyond its memory.
    """

    def __init__(self, column: Any) -> None:
        valid, first, *rest = column.buffers()
        self.first_row, kind = column.offset, str(column.type)
        self.valid = None if valid is None else np.frombuffer(valid, np.uint8)
        self.ends = None if kind in ("double", "int64") else np.frombuffer(first, np.int32)
        if self.ends is None:
            self.values: Any = np.frombuffer(first, np.float64 if kind == "double" else np.int64)
        elif kind == "string":
            self.values = memoryview(rest[-1] or b"")
        else:
            self.values = column.values.to_numpy()

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
            "dtype": pa.string(), "scale": pa.list_(pa.float32()), "idx": pa.int64(), "patient": pa.int64(),
            "source": pa.large_string(),
        }
    )  # fmt: skip


def write_index(path: Path, rows: Sequence[Mapping[str, Any]] | Any, notes: Mapping[str, str]) -> None:
    """Write records (mappings with COLUMNS, or an Arrow table) and notes as one Arrow file, atomically."""
    import pyarrow as pa

    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(list(rows), schema=_schema())
    table = table.combine_chunks().replace_schema_metadata(dict(notes))
    with (
        replacing(path) as partial,
        pa.OSFile(os.fspath(partial), "wb") as file,
        pa.ipc.new_file(file, table.schema) as writer,
    ):
        writer.write_table(table)
