"""What a packed store lacks of the records that manifests name, and which shard each of them goes to.

Ten million records fit: a record is a number of eight bytes here, and its name is made from the manifest when its turn
comes. Records that one cmsc row names form a unit and lie one after the other, so that one address spans them.
"""

import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.data.arrow_columns import numbers_of
from ecg_signals.data.manifest import Manifest, Slice
from ecg_signals.data.pack_shard import Shard
from ecg_signals.data.sources.index import read_signal
from ecg_signals.data.sources.packed import AT_ONCE, Index, sources

LOOKED_UP = 1 << 18  # units likewise
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # odd, so that records in another order are another unit


class Names:
    """Names as numbers: equal for equal names. `keys` [names] uint64, and `checks` uint32, which confirm them."""

    def __init__(self, keys: np.ndarray, checks: np.ndarray) -> None:
        self.keys, self.checks = keys, checks

    @classmethod
    def of(cls, blocks: Iterable[list[str]], count: int) -> "Names":
        keys, checks = np.empty(count, np.int64), np.empty(count, np.uint32)
        done = 0
        for texts in blocks:
            place = slice(done, done := done + len(texts))
            keys[place] = [hash(text) for text in texts]
            checks[place] = [zlib.crc32(text.encode("utf-8", "surrogateescape")) for text in texts]
        return cls(keys.view(np.uint64), checks)

    def __add__(self, others: "Names") -> "Names":
        return Names(np.concatenate([self.keys, others.keys]), np.concatenate([self.checks, others.checks]))

    def __getitem__(self, numbers: np.ndarray) -> "Names":
        return Names(self.keys[numbers], self.checks[numbers])

    def units(self, first: np.ndarray, size: int) -> np.ndarray:
        """[units] uint64 of the `size` names that follow each number of `first`; of one name its own."""
        found = self.keys[first]
        for place in range(1, size):
            found = found * _SPREAD + self.keys[first + place] + np.uint64(place)
        return found


@dataclass
class Listed:
    """A manifest, and the names of all that its rows name.

    Attributes:
        names: of every record, row by row.
        first: [rows] where those of a row begin; None where each row names one.
        sizes: [rows] how many they are; None likewise.
        folders: where their files lie.
    """

    manifest: Manifest
    names: Names
    folders: set[str]
    first: np.ndarray | None = None
    sizes: np.ndarray | None = None

    @classmethod
    def read(cls, manifest: Manifest) -> "Listed":
        sizes = manifest.parts // 2 * 2 if manifest.kind == "cmsc" else None
        first = None if sizes is None else np.cumsum(sizes, dtype=np.int64) - sizes
        count = len(manifest) if sizes is None else int(sizes.sum())
        folders: set[str] = set()

        def blocks() -> Iterator[list[str]]:
            for start in range(0, len(manifest), AT_ONCE):
                paths = paths_of(manifest, start, min(start + AT_ONCE, len(manifest)))
                folders.update({path.rpartition("/")[0] for row in paths for path in row})
                yield [path for row in paths for path in row]

        names = Names.of(blocks(), count)
        # Mapped once more, so that pages that are not needed for now do not count as this process's.
        return cls(Manifest(manifest.path), names, folders, first, sizes)

    def by_size(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Rows with equally many records: how many, the rows, and their units (see Names)."""
        if self.first is None or self.sizes is None:
            yield 1, np.arange(len(self.manifest), dtype=np.int32), self.names.keys
            return
        for size in np.unique(self.sizes).tolist():
            rows = np.flatnonzero(self.sizes == size).astype(np.int32)
            yield size, rows, self.names.units(self.first[rows], size)


def paths_of(manifest: Manifest, first: int, behind: int) -> list[list[str]]:
    """The files that rows `first` to `behind` - 1 name. Raises: ConfigError for packed records."""
    root = os.path.join(os.path.abspath(manifest.root), "")
    addresses = manifest.addresses_of(first, behind)
    if any(Slice.parse(row[0]) for row in addresses):
        raise ConfigError(f"{manifest.path} names packed records already; pack the manifests of the files")
    return [[name if name.startswith("/") else root + name for name in row] for row in addresses]


class Stored:
    """The records of a store in the order of its index, then those that are planned.

    Attributes:
        names: of every record.
        group: [records] the shard of each, of planned ones a negative number of the unit.
    """

    def __init__(self, index: Index | None) -> None:
        batches = [] if index is None else index.batches
        self.group = np.concatenate([np.empty(0, np.int32), *(numbers_of(batch.column("shard")) for batch in batches)])
        self.names = Names.of(sources(batches), len(self.group))
        self._planned = 0

    def __len__(self) -> int:
        return len(self.group)

    def add(self, names: Names, sizes: np.ndarray) -> None:
        """Plan units of `sizes` records."""
        units = np.arange(self._planned + 1, self._planned + 1 + len(sizes), dtype=np.int32)
        self._planned += len(sizes)
        self.group = np.concatenate([self.group, -np.repeat(units, sizes)])
        self.names = self.names + names

    def find(self, units: np.ndarray, size: int) -> np.ndarray:
        """[units] where the records of each lie, one after the other: the first of them; -1 where they do not."""
        first, known = None, self.names.keys
        if size > 1:
            first = np.arange(max(0, len(self) - size + 1), dtype=np.int32)
            first = first[self.group[: len(first)] == self.group[size - 1 :]]
            known = self.names.units(first, size)
        found = np.full(len(units), -1, dtype=np.int32)
        if not len(known):
            return found
        order = np.argsort(known, kind="stable").astype(np.int32)
        known = known[order]
        for start in range(0, len(units), LOOKED_UP):
            wanted = units[start : start + LOOKED_UP]
            at = known.searchsorted(wanted)
            at[at == len(known)] = 0
            place = order[at] if first is None else first[order[at]]
            found[start : start + LOOKED_UP] = np.where(known[at] == wanted, place, -1)
        return found


@dataclass
class Plan:
    """The shards that are still to be made, by number from 0 on, each put together when it is asked for.

    Attributes:
        first: the number of the first new shard in the store.
        listed: the manifests by path below the destination.
        stored: the records that the store will hold, those of today first.
        kept: how many it holds today.
        named: how many different ones of these the manifests name.
        whose, row: [units] the manifest and the row of it that names each unit to be packed.
        sizes: [units] its records.
        bounds: [new shards + 1] units of each.
        missing: shards that the index names and that are not there, to be made again.
    """

    folder: Path
    dtype: str
    first: int
    listed: dict[Path, Listed]
    stored: Stored
    kept: int
    named: int
    whose: np.ndarray
    row: np.ndarray
    sizes: np.ndarray
    bounds: np.ndarray
    missing: list[Shard]

    def __len__(self) -> int:
        return len(self.missing) + len(self.bounds) - 1

    def shard(self, number: int) -> Shard:
        if number < len(self.missing):
            return self.missing[number]
        number -= len(self.missing)
        listed = list(self.listed.values())
        units = range(int(self.bounds[number]), int(self.bounds[number + 1]))
        places = ((listed[self.whose[unit]].manifest, int(self.row[unit])) for unit in units)
        paths = [paths_of(manifest, row, row + 1)[0] for manifest, row in places]
        flat, sizes = [path for unit in paths for path in unit], [len(unit) for unit in paths]
        return Shard(self.folder, self.first + number, self.dtype, flat, sizes)

    def records(self, number: int) -> int:
        if number < len(self.missing):
            return len(self.missing[number].paths)
        number -= len(self.missing)
        return int(self.sizes[self.bounds[number] : self.bounds[number + 1]].sum())


class Share(Sequence[Shard]):
    """Some of a plan's shards."""

    def __init__(self, plan: Plan, numbers: Sequence[int]) -> None:
        self.plan, self.numbers = plan, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, place: int) -> Shard: ...
    @overload
    def __getitem__(self, place: slice) -> list[Shard]: ...
    def __getitem__(self, place: int | slice) -> Shard | list[Shard]:
        if isinstance(place, slice):
            return [self.plan.shard(number) for number in self.numbers[place]]
        return self.plan.shard(self.numbers[place])


def make_plan(manifests: dict[Path, Manifest], folder: Path, index: Index | None, dtype: str, shard_bytes: int) -> Plan:
    """Units that the store lacks, those of several records first; each manifest's in its order. Empties `manifests`."""
    listed = {name: Listed.read(manifests.pop(name)) for name in list(manifests)}
    stored, several = Stored(index), list(listed.values())
    kept, used = len(stored), np.zeros(len(stored), dtype=bool)
    parts: list[tuple[np.ndarray, ...]] = []  # of the units to be packed: manifest, row, records, samples in all
    for number in sorted(range(len(several)), key=lambda number: several[number].first is None):
        one = several[number]
        for size, rows, units in one.by_size():
            found = stored.find(units, size)
            for place in range(size):
                there = found[found >= 0] + place
                used[there[there < kept]] = True
            new = np.flatnonzero(found < 0)
            new = new[np.sort(np.unique(units[new], return_index=True)[1])]
            rows = rows[new]
            first = rows if one.first is None else one.first[rows]
            sizes = np.full(len(new), size, dtype=np.int32)
            stored.add(one.names[(first[:, None] + np.arange(size)).ravel()], sizes)
            samples = one.manifest.samples[rows] * size
            parts.append((np.full(len(new), number, np.int16), rows.astype(np.int32), sizes, samples))
    whose, row, sizes, samples = (np.concatenate(column) for column in zip(*parts))
    plan = Plan(folder, dtype, 0 if index is None else len(index.names), listed, stored, kept, int(used.sum()),
                whose, row, sizes, np.zeros(1, np.int64), _missing(folder, index))  # fmt: skip
    if len(row):
        plan.bounds = cut(samples * _width(several[whose[0]].manifest, int(row[0]), dtype), shard_bytes)
    return plan


def _missing(folder: Path, index: Index | None) -> list[Shard]:
    """The shards that an index names and that are not there."""
    if index is None:
        return []
    gone = {number for number, name in enumerate(index.names) if not (folder / name).is_file()}
    return [
        Shard(
            folder,
            number,
            batch.column("dtype")[0].as_py(),
            [path for paths in sources([batch]) for path in paths],
            [1] * batch.num_rows,
        )
        for number, batch in index.by_shard()
        if number in gone
    ]


def _width(manifest: Manifest, row: int, dtype: str) -> int:
    """Bytes of a sample of all leads, as the first record has them; the others' are taken to be alike."""
    return len(read_signal(paths_of(manifest, row, row + 1)[0][0]).signal) * np.dtype(dtype).itemsize


def cut(sizes: np.ndarray, most: int) -> np.ndarray:
    """[shards + 1] where the units of every shard begin: as many as fit into `most` bytes, one at least.

    Args:
        sizes: [units] bytes.
    """
    ends = np.cumsum(sizes)
    bounds = [0]
    while bounds[-1] < len(sizes):
        before = int(ends[bounds[-1] - 1]) if bounds[-1] else 0
        bounds.append(max(bounds[-1] + 1, int(ends.searchsorted(before + most, side="right"))))
    return np.array(bounds)
