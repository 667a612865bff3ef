"""What a packed store holds, and whether it is whole: `ecg-pack info` and `ecg-pack verify`."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.data.arrow_columns import numbers_of
from ecg_signals.data.manifest import Manifest, Slice
from ecg_signals.data.sources.packed import DTYPES, INDEX, Index, PackedStore, ShardFacts, facts_of, read_index
from ecg_signals.processes import by_processes
from ecg_signals.readers.npy_file import HEADER_BYTES, load_npy


@dataclass
class Checked:
    """What `verify` found: `faults`, one line each, and what was looked at."""

    faults: list[str] = field(default_factory=list)
    shards: int = 0
    records: int = 0
    manifests: int = 0
    unsigned: int = 0  # shards whose checksum the index does not know


def verify(folder: Path, workers: int = 1, progress: Callable[[int, int], None] = lambda done, total: None) -> Checked:
    """Every shard against its checksum, every row of the index and of the manifests against what it tells of.

    Raises: ConfigError where there is no store at all.
    """
    found = Checked()
    shards = sorted(path.name for path in folder.glob("*.npy"))
    if not folder.is_dir() or not (shards or (folder / INDEX).exists()):
        raise ConfigError(f"{folder} is no packed store: it has no {INDEX}. Make one with `ecg-pack MANIFEST_DIR DEST`")
    parts = len(list(folder.glob("*.part.arrow")))
    if parts:
        found.faults.append(f"{folder}: {parts} shards are made but not joined; run the same ecg-pack again")
    try:
        index = read_index(folder / INDEX)
        store = PackedStore(folder)
    except ConfigError as error:
        found.faults.append(str(error))
        return found
    named = set(index.names)
    found.faults += [f"{folder / name}: {INDEX} does not know it" for name in shards if name not in named]
    _check_shards(folder, index, found, workers, progress)
    for path in sorted(folder.rglob("*.tsv")):
        found.manifests += 1
        found.faults += _faults_of_manifest(path, store)
    return found


def _check_shards(
    folder: Path, index: Index, found: Checked, workers: int, progress: Callable[[int, int], None]
) -> None:
    jobs = [(folder / name, facts) for name, facts in zip(index.names, index.facts)]
    results = by_processes(_shard_faults, jobs, workers, chunk=1)
    for done, (faults, (_, facts)) in enumerate(zip(results, jobs), 1):
        found.faults += faults
        found.shards, found.unsigned = done, found.unsigned + (facts is None)
        progress(done, len(jobs))
    told = dict(index.by_shard())
    found.records = sum(batch.num_rows for batch in told.values())
    if found.records != index.rows:
        found.faults.append(f"{index.path}: {index.rows - found.records} rows name shards that it does not list")
    for number, name in enumerate(index.names):
        path = folder / name
        if number not in told:
            found.faults.append(f"{path}: {INDEX} has no row for it")
        elif path.is_file():
            found.faults += _row_faults(path, told[number], index)


def _shard_faults(job: tuple[Path, ShardFacts | None]) -> list[str]:
    path, facts = job
    if not path.is_file():
        return [f"{path} is missing; the same ecg-pack again makes it"]
    try:
        load_npy(path, mapped=True)
        if facts is None:
            return []
        there = facts_of(path)
    except ConfigError as error:
        return [str(error)]
    except OSError as error:
        return [f"{path} cannot be read: {error.strerror}"]
    if there.bytes != facts.bytes:
        return [f"{path} has {there.bytes:,} bytes; {INDEX} says {facts.bytes:,}"]
    if there.sha256 != facts.sha256:
        return [f"{path} has another checksum than {INDEX} says ({there.sha256[:16]}..., not {facts.sha256[:16]}...): "
                f"it is damaged, or of another store"]  # fmt: skip
    return []


def _row_faults(path: Path, batch: Any, index: Index) -> list[str]:
    """Rows of one shard that lie outside it, over one another, or cannot be what they say."""
    offset, size, leads = (numbers_of(batch.column(name)).astype(np.int64) for name in ("offset", "bytes", "leads"))
    width = np.array([DTYPES[name.encode()].itemsize if (name or "").encode() in DTYPES else 0
                      for name in batch.column("dtype").to_pylist()])  # fmt: skip
    whole = path.stat().st_size
    outside = (offset < HEADER_BYTES) | (size <= 0) | (offset > whole) | (size > whole - np.minimum(offset, whole))
    over = np.concatenate([[False], offset[1:] < offset[:-1] + size[:-1]])
    odd = (leads <= 0) | (width == 0) | (size % np.maximum(1, leads * width) != 0)
    for name in ("scale", "step"):
        if name in batch.schema.names:
            lengths = batch.column(name).value_lengths().fill_null(-1).to_numpy(zero_copy_only=False)
            odd |= (lengths >= 0) & (lengths != leads)
    kinds = {"lie outside the file": outside, "lie over the record before": over,
             "cannot be leads of the type and scales they state": odd}  # fmt: skip
    return [f"{index.path}: {int(wrong.sum())} of the {len(wrong)} records of {path.name} {what} (record "
            f"{int(wrong.argmax())} of it first)" for what, wrong in kinds.items() if wrong.any()]  # fmt: skip


def _faults_of_manifest(path: Path, store: PackedStore) -> list[str]:
    try:
        manifest = Manifest(path)
    except ConfigError as error:
        return [str(error)]
    if Path(manifest.root).resolve() != Path(store.folder).resolve():
        return [f"{path} is of another store: its first line is {manifest.root}, not {Path(store.folder).resolve()}"]
    wrong: Counter[str] = Counter()
    first: dict[str, str] = {}
    for row in range(len(manifest)):
        fault = _fault_of_row(manifest, row, store)
        if fault:
            wrong[fault] += 1
            first.setdefault(fault, manifest.stem(row))
    return [f"{path}: {count} of {len(manifest)} rows {fault} ({first[fault]} first)" for fault, count in wrong.items()]


def _fault_of_row(manifest: Manifest, row: int, store: PackedStore) -> str:
    samples = int(manifest.samples[row])
    for address in manifest.addresses(row):
        place = Slice.parse(address)
        if place is None:
            return "name files, not packed records"
        shape = store.shape(place)
        if shape is None:
            return f"name what is not in {INDEX}"
        if shape[1] != samples:
            return f"state another length than {INDEX}"
    return ""


def info(folder: Path) -> Iterator[tuple[str, str]]:
    """(what, how much) of a store, from its index alone."""
    index = read_index(folder / INDEX)
    counts: dict[str, Counter[Any]] = {name: Counter() for name in ("dtype", "rate", "leads")}
    patients: list[np.ndarray] = []
    folders: Counter[str] = Counter()
    size = exact = unknown = 0
    for batch in index.batches:
        for name, counter in counts.items():
            for one in batch.column(name).value_counts().to_pylist():
                counter[one["values"]] += one["counts"]
        known = batch.column("patient").drop_null().to_numpy()
        patients.append(np.unique(known[known >= 0]))
        unknown += batch.num_rows - int((known >= 0).sum())
        size += int(numbers_of(batch.column("bytes")).sum())
        exact += batch.column("exact").true_count if "exact" in batch.schema.names else 0
        folders.update(_folders(batch))
    whole = len(np.unique(np.concatenate(patients))) if patients else 0
    yield "records", f"{index.rows:,}"
    yield "shards", f"{len(index.names):,}, {sum(facts is not None for facts in index.facts):,} with checksum"
    yield "bytes", f"{size:,}"
    yield "dtype", _counted(counts["dtype"]) + (f"; {exact:,} of int16 exact" if counts["dtype"]["int16"] else "")
    yield "rates (Hz)", _counted(counts["rate"])
    yield "leads", _counted(counts["leads"])
    yield "patients", f"{whole:,}" + (f"; {unknown:,} records of no known patient" if unknown else "")
    yield "sources", _counted(folders)


def _folders(batch: Any) -> Counter[str]:
    """Folders of the files that records were made from."""
    if "source" not in batch.schema.names:
        return Counter()
    import pyarrow.compute as pc

    found = pc.replace_substring_regex(batch.column("source"), r"/[^/]*$", "").value_counts()
    return Counter({one["values"]: one["counts"] for one in found.to_pylist()})


def _counted(counter: Counter[Any], most: int = 8) -> str:
    def text(value: Any) -> str:
        return "unknown" if value is None else f"{value:g}" if isinstance(value, float) else str(value)

    shown = [f"{text(value)} ({count:,})" for value, count in counter.most_common(most)]
    return ", ".join(shown) + (f" and {len(counter) - most:,} more" if len(counter) > most else "") or "none"
