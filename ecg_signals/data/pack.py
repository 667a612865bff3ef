"""`ecg-pack`: manifests of files -> a packed store with manifests of the same names.

Work goes shard by shard: a shard and its part of the index are renamed into place one after the other, and a second run
makes only what is missing. Several processes, or several machines that see one folder, each make some of the shards;
the run that finds all of them there joins the parts of the index and writes the manifests. Records that are new since
then go into further shards; those that are there stay as they are.
"""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.data.arrow_columns import numbers_of
from ecg_signals.data.manifest import Manifest, Slice, write_manifest
from ecg_signals.data.pack_plan import Listed, Plan, Share, Stored, make_plan
from ecg_signals.data.pack_shard import make_shard, part_path, shard_name
from ecg_signals.data.sources.packed import INDEX, Index, completed_batch, read_index, sources, write_index
from ecg_signals.files import check_writable, writing
from ecg_signals.limits import check_no_input
from ecg_signals.processes import by_processes

SHARD_BYTES = 1 << 30  # 1 GiB: few files, each of a size that every disk and copy takes

Progress = Callable[[int, int], None]  # (records done, records in all)


@dataclass(frozen=True)
class Packed:
    """What a run has done.

    Attributes:
        records: in the store, with those of shards that are not there yet.
        added: records that the store did not have when the run began.
        unnamed: records of the store that no manifest names now.
        shards: all that were to be made.
        waiting: those of them that other runs have still to make.
        exact: of int16 records, those that give the float32 of their file to the bit; None for float32.
        rounded: float32 records of files that hold more digits.
    """

    records: int
    added: int
    unnamed: int
    shards: int
    waiting: int
    exact: int | None
    rounded: int = 0


def pack_manifests(
    source: str | os.PathLike[str],
    dest: str | os.PathLike[str],
    *,
    dtype: str = "float32",
    shard_bytes: int = SHARD_BYTES,
    workers: int = 1,
    part: tuple[int, int] = (1, 1),
    append: bool = False,
    progress: Progress = lambda done, total: None,
) -> Packed:
    """Pack every record that the manifests in and below `source` name and the store lacks.

    Args:
        source: folder of manifests (`*.tsv`, also in subfolders such as cmsc/).
        dest: folder of the store; its manifests have the names of the originals.
        dtype: "float32", or "int16", see `pack_shard.encode`.
        shard_bytes: a shard is closed when it holds this many bytes.
        workers: processes.
        part: (k, n) makes every n-th shard, beginning with the k-th; others are left to other runs.
        append: add to a store that holds none of these records.
    Raises: ConfigError naming what is missing or does not fit.
    """
    folder = Path(dest)
    if dtype not in ("float32", "int16"):
        raise ConfigError(f"dtype is {dtype!r}; it must be float32 or int16")
    check_writable(folder, advice="Choose another DEST")
    index = read_index(folder / INDEX) if (folder / INDEX).is_file() else None
    plan = make_plan(_manifests(Path(source), folder), folder, index, dtype, shard_bytes)
    _check_dest(folder, plan, index, append)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    own = range(part[0] - 1, len(plan), part[1])
    total, done = sum(plan.records(number) for number in own), 0
    for records in by_processes(make_shard, Share(plan, own), workers, chunk=1, ordered=False):
        done += records
        progress(done, total)
    waiting = _unwritten(folder, plan, own)
    if not waiting:
        _join(folder, plan, index)
        _write_manifests(folder, plan)
        _clean(folder)
    added, shards = len(plan.stored) - plan.kept, len(plan)
    exact, lost = (None, 0) if waiting else _exact(read_index(folder / INDEX))
    if dtype == "float32":
        return Packed(len(plan.stored), added, plan.kept - plan.named, shards, waiting, None, lost)
    return Packed(len(plan.stored), added, plan.kept - plan.named, shards, waiting, exact)


def _manifests(source: Path, dest: Path) -> dict[Path, Manifest]:
    paths = [path for path in sorted(source.rglob("*.tsv")) if dest.resolve() not in path.resolve().parents]
    if not paths:
        raise ConfigError(f"{source} holds no manifest (*.tsv); name the folder that `ecg-preprocess manifest` wrote")
    filled = [path for path in paths if not _lists_nothing(path)]
    if len(filled) < len(paths):
        without = ", ".join(str(path.relative_to(source)) for path in paths if path not in filled)
        if not filled:
            raise ConfigError(f"the manifests in {source} list no record ({without}); make them again")
        warnings.warn(f"manifests that list no record are left out: {without}", stacklevel=3)
    return {path.relative_to(source): Manifest(path) for path in filled}


def _lists_nothing(path: Path) -> bool:
    """True for the root alone, and for root and extension (cmsc), as `ecg-preprocess` writes an empty split."""
    with path.open("rb") as file:
        lines = [line for line in islice(file, 1000) if line.strip()]
    return len(lines) == 1 or (len(lines) == 2 and b"\t" not in lines[1].strip())


def _check_dest(folder: Path, plan: Plan, index: Index | None, append: bool) -> None:
    """Raises: ConfigError when something of the user's would be written over, and for a store of other records."""
    manifests = [listed.manifest.path for listed in plan.listed.values()]
    check_no_input([folder / name for name in plan.listed], manifests)
    for name in plan.listed:
        if (folder / name).is_file() and not _is_packed(Manifest(folder / name)):
            raise ConfigError(f"{folder / name} is a manifest that ecg-pack did not write; give another folder as DEST")
    places = {Path(place).resolve() for listed in plan.listed.values() for place in listed.folders}
    if folder.resolve() in places:
        raise ConfigError(f"DEST {folder} is the folder of the records to pack; give a folder of its own as DEST")
    if index is None or not index.rows:
        return
    stored = {value for batch in index.batches for value in batch.column("dtype").unique().to_pylist()}
    if stored != {plan.dtype}:
        raise ConfigError(
            f"DEST {folder} holds {' and '.join(sorted(map(str, stored)))} records, and dtype is {plan.dtype}; type "
            f"--dtype {min(map(str, stored))} to add to it, or give another folder as DEST"
        )
    if not plan.named and not append:
        raise ConfigError(
            f"DEST {folder} holds {index.rows:,} records of other files, such as {next(sources(index.batches))[0]}. "
            f"Type --append to add {len(plan.stored) - plan.kept:,} records to them, or give another folder as DEST"
        )


def _is_packed(manifest: Manifest) -> bool:
    return not len(manifest) or Slice.parse(manifest.addresses(0)[0]) is not None


def _unwritten(folder: Path, plan: Plan, own: range) -> int:
    """How many shards of the plan are not there, once this run has made its own; 0 where another run has joined all."""
    waiting = sum(not plan.shard(number).is_written() for number in range(len(plan)) if number not in own)
    if waiting and not plan.missing and (folder / INDEX).is_file():
        names = read_index(folder / INDEX).names
        return 0 if len(names) >= plan.first + len(plan) else waiting
    return waiting


def _join(folder: Path, plan: Plan, index: Index | None) -> None:
    """The index of the whole store, from that of today and the parts of what was made."""
    made = [plan.missing[number].number for number in range(len(plan.missing))]
    made += range(plan.first, plan.first + len(plan) - len(plan.missing))
    if not made or (index is None and (folder / INDEX).is_file()):  # another run was quicker
        return
    parts = {number: read_index(part_path(folder, number)) for number in made}
    names = [] if index is None else list(index.names)
    facts = [] if index is None else list(index.facts)
    for number, part in parts.items():
        names[number : number + 1], facts[number : number + 1] = [shard_name(number)], part.facts
    write_index(folder / INDEX, _joined(index, parts), names, facts)


def _joined(index: Index | None, parts: dict[int, Index]) -> Iterator[Any]:
    for number, batch in () if index is None else index.by_shard():
        again = parts.pop(number, None)
        if again is None:
            yield completed_batch(batch)
            continue
        (new,) = again.batches
        if any(not new.column(name).equals(batch.column(name)) for name in ("offset", "bytes", "leads")):
            raise ConfigError(
                f"{index.path if index else INDEX}: the records of {shard_name(number)}, which is missing, have other "
                f"sizes than when it was made. Give another folder as DEST"
            )
        yield new
    for part in parts.values():
        yield from part.batches


def _write_manifests(folder: Path, plan: Plan) -> None:
    index = read_index(folder / INDEX)
    columns = [
        np.concatenate([numbers_of(batch.column(name)) for batch in index.batches])
        for name in ("shard", "offset", "bytes")
    ]
    for name, listed in plan.listed.items():
        manifest = listed.manifest
        rows = _index_rows(listed, plan.stored)
        extension = "npy" if manifest.kind == "cmsc" else ""
        texts = _manifest_rows(listed, rows, index.names, *columns)
        write_manifest(folder / name, folder.resolve(), texts, extension)


def _index_rows(listed: Listed, stored: Stored) -> np.ndarray:
    """[rows] where the index tells of the first record of each row of a manifest."""
    found = np.empty(len(listed.manifest), dtype=np.int64)
    for size, rows, units in listed.by_size():
        found[rows] = stored.find(units, size)
        first = rows if listed.first is None else listed.first[rows]
        for place in range(size):
            if (stored.names.checks[found[rows] + place] != listed.names.checks[first + place]).any():
                raise ConfigError("two names of records have the same number by chance; run the same command again")
    return found


def _manifest_rows(
    listed: Listed, rows: np.ndarray, names: Sequence[str], shard: np.ndarray, offset: np.ndarray, size: np.ndarray
) -> Iterator[tuple[str, ...]]:
    """A manifest's rows with packed addresses, for `write_manifest`; `rows`: see _index_rows."""
    for number, (_, samples, *others) in enumerate(listed.manifest.rows()):
        row, count = int(rows[number]), 1 if listed.sizes is None else int(listed.sizes[number])
        sizes = size[row : row + count]
        if (sizes != sizes[0]).any():
            raise ConfigError(f"{listed.manifest.path}, row {number}: its segments differ in size. Segment them again")
        if listed.sizes is not None:
            others = ["0", ",".join(map(str, range(count)))]
        yield (f"{names[shard[row]]}:{offset[row]}:{sizes.sum()}", samples, *others)


def _clean(folder: Path) -> None:
    """Parts of the index that are joined, and shards that an interrupted run of another plan made."""
    names = set(read_index(folder / INDEX).names)
    for part in folder.glob("*.part.arrow"):
        shard = part.name.removesuffix(".part.arrow")
        if shard not in names:
            (folder / shard).unlink(missing_ok=True)
        part.unlink(missing_ok=True)


def _exact(index: Index) -> tuple[int, int]:
    """Records that are those of their files to the bit, and that are not; most of float32 are not counted."""
    columns = [batch.column("exact") for batch in index.batches if "exact" in batch.schema.names]
    return sum(column.true_count for column in columns), sum(column.false_count for column in columns)
