"""`ecg-pack`: manifests of files -> a packed store with manifests of the same names.

Records that a cmsc row pairs lie one after the other, so that one address spans them. Work goes shard by shard: a shard
and its part of the index are renamed into place together at the end, and a second run makes only what is missing.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.data.manifest import Manifest, Slice, write_manifest
from ecg_signals.data.segment import Segment
from ecg_signals.data.sources.files import FileSource
from ecg_signals.data.sources.packed import INDEX, read_index, write_index
from ecg_signals.files import check_writable, replacing, writing
from ecg_signals.limits import check_no_input
from ecg_signals.readers.npy_file import HEADER_BYTES, npy_header

SHARD_BYTES = 1 << 30  # 1 GiB: few files, each of a size that every disk and copy takes
INT16_MAX = 32767

Unit = tuple[tuple[str, str], ...]  # records that stay together, each as (root, address)
Progress = Callable[[int, int], None]  # (records done, records in all)


@dataclass
class PackPlan:
    """What goes into which shard, and under which name the manifests are written."""

    manifests: dict[Path, Manifest]  # by path below the destination
    shards: list[list[Unit]]
    dtype: str
    fingerprints: list[str] = field(default_factory=list)  # of each shard's content


def pack_manifests(
    source: str | os.PathLike[str],
    dest: str | os.PathLike[str],
    *,
    dtype: str = "float32",
    shard_bytes: int = SHARD_BYTES,
    progress: Progress = lambda done, total: None,
) -> int:
    """Pack every record that the manifests in and below `source` name.

    Args:
        source: folder of manifests (`*.tsv`, also in subfolders such as cmsc/).
        dest: folder of the store; its manifests have the names of the originals.
        dtype: "float32", or "int16" with a scale per lead (error at most half a step of largest value / 32767).
        shard_bytes: a shard is closed when it holds this many bytes.
    Returns: the number of records in the store.
    Raises: ConfigError naming what is missing or does not fit.
    """
    folder = Path(dest)
    check_writable(folder, advice="Choose another DEST")
    plan = _plan(Path(source), folder, dtype, shard_bytes)
    _check_dest(folder, plan)
    total, done = sum(len(unit) for units in plan.shards for unit in units), 0
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if not _is_complete(folder, plan):
        (folder / INDEX).unlink(missing_ok=True)  # an index of other shards must never describe these
        for number, units in enumerate(plan.shards):
            if not _is_written(folder, number, plan):
                _write_shard(folder, number, units, plan)
            done += sum(len(unit) for unit in units)
            progress(done, total)
        _join_index(folder, plan)
    addresses = _addresses(folder, plan)
    for name, manifest in plan.manifests.items():
        extension = "npy" if manifest.kind == "cmsc" else ""
        write_manifest(folder / name, folder.resolve(), _manifest_rows(manifest, addresses), extension)
    for part in folder.glob("*.part.arrow"):
        part.unlink()
    return total


def _plan(source: Path, dest: Path, dtype: str, shard_bytes: int) -> PackPlan:
    if dtype not in ("float32", "int16"):
        raise ConfigError(f"dtype is {dtype!r}; it must be float32 or int16")
    paths = [path for path in sorted(source.rglob("*.tsv")) if dest.resolve() not in path.resolve().parents]
    if not paths:
        raise ConfigError(f"{source} holds no manifest (*.tsv); name the folder that `ecg-preprocess manifest` wrote")
    filled = [path for path in paths if not _lists_nothing(path)]
    if len(filled) < len(paths):
        without = ", ".join(str(path.relative_to(source)) for path in paths if path not in filled)
        if not filled:
            raise ConfigError(f"the manifests in {source} list no record ({without}); make them again")
        warnings.warn(f"manifests that list no record are left out: {without}", stacklevel=3)
    manifests = {path.relative_to(source): Manifest(path) for path in filled}
    units: dict[Unit, int] = {}  # -> samples
    placed: set[tuple[str, str]] = set()
    for manifest in sorted(manifests.values(), key=lambda manifest: manifest.kind != "cmsc"):  # pairs first
        for row in range(len(manifest)):
            unit = _unit(manifest, row)
            if any(Slice.parse(address) for _, address in unit):
                raise ConfigError(f"{manifest.path} names packed records already; pack the manifests of the files")
            if len(unit) > 1 or unit[0] not in placed:
                units.setdefault(unit, int(manifest.samples[row]) * len(unit))
                placed.update(unit)
    plan = PackPlan(manifests, _cut_into_shards(units, dtype, shard_bytes), dtype)
    plan.fingerprints = [hashlib.sha256(repr((dtype, shard)).encode()).hexdigest() for shard in plan.shards]
    return plan


def _lists_nothing(path: Path) -> bool:
    """True for the root alone, and for root and extension (cmsc), as `ecg-preprocess` writes an empty split."""
    with path.open("rb") as file:
        lines = [line for line in islice(file, 1000) if line.strip()]
    return len(lines) == 1 or (len(lines) == 2 and b"\t" not in lines[1].strip())


def _check_dest(folder: Path, plan: PackPlan) -> None:
    """Raises: ConfigError when something of the user's would be written over: manifests of files, or the records."""
    check_no_input([folder / name for name in plan.manifests], [manifest.path for manifest in plan.manifests.values()])
    for name in plan.manifests:
        if (folder / name).is_file() and not _is_packed(Manifest(folder / name)):
            raise ConfigError(f"{folder / name} is a manifest that ecg-pack did not write; give another folder as DEST")
    places = {os.path.dirname(os.path.join(root, address)) for root, address in _records(plan)}
    if folder.resolve() in {Path(place).resolve() for place in places}:
        raise ConfigError(f"DEST {folder} is the folder of the records to pack; give a folder of its own as DEST")


def _records(plan: PackPlan) -> Iterator[tuple[str, str]]:
    return (record for units in plan.shards for unit in units for record in unit)


def _is_packed(manifest: Manifest) -> bool:
    return not len(manifest) or Slice.parse(manifest.addresses(0)[0]) is not None


def _unit(manifest: Manifest, row: int) -> Unit:
    root = os.path.abspath(manifest.root)
    return tuple((root, address) for address in manifest.addresses(row))


def _cut_into_shards(units: dict[Unit, int], dtype: str, shard_bytes: int) -> list[list[Unit]]:
    """Units in order; sizes are estimated as if every record had the leads of the first one."""
    root, address = next(iter(units))[0]
    width = len(FileSource(root).read(address).signal) * np.dtype(dtype).itemsize
    shards: list[list[Unit]] = [[]]
    filled = 0
    for unit, samples in units.items():
        if filled and filled + samples * width > shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(unit)
        filled += samples * width
    return shards


def shard_name(number: int) -> str:
    return f"shard_{number:05}.npy"


def _write_shard(folder: Path, number: int, units: Sequence[Unit], plan: PackPlan) -> None:
    """The shard and its part of the index; the part, written last, says that both are complete."""
    path = folder / shard_name(number)
    sources: dict[str, FileSource] = {}
    rows: list[dict[str, Any]] = []
    shapes: set[tuple[int, ...]] = set()
    with replacing(path, durable=True) as partial, partial.open("wb") as file:
        file.seek(HEADER_BYTES)
        for unit in units:
            for root, address in unit:
                stored = sources.setdefault(root, FileSource(root)).read(address)
                content, scale = _encode(stored, plan.dtype)
                row = {"shard": number, "offset": file.tell(), "bytes": content.nbytes, "leads": len(content)}
                rows.append({**row, **_facts(stored, plan.dtype, scale), "source": f"{root}/{address}"})
                shapes.add(content.shape)
                file.write(content.tobytes())
            if len({row["bytes"] for row in rows[-len(unit) :]}) > 1:  # its one address is cut into equal parts
                names = ", ".join(address for _, address in unit)
                raise ConfigError(f"{names} form a pair but differ in size; expected one length. Segment them again")
        size = file.tell() - HEADER_BYTES
        file.seek(0)
        one_shape = (len(rows), *next(iter(shapes))) if len(shapes) == 1 else (size // np.dtype(plan.dtype).itemsize,)
        file.write(npy_header(one_shape, np.dtype(plan.dtype)))
    notes = {"shards": "[]", "fingerprint": plan.fingerprints[number]}
    write_index(_part(folder, number), rows, notes)


def _encode(stored: Segment, dtype: str) -> tuple[np.ndarray, np.ndarray | None]:
    """The array to write, [leads, samples], and for int16 its scale per lead."""
    signal = np.array(stored.signal, dtype=np.float32, order="C")
    if dtype == "float32":
        return signal, None
    if not np.isfinite(signal).all():
        raise ConfigError(
            f"{stored.path} holds NaN or infinite values, which int16 cannot; use dtype=float32 or leave it out"
        )
    largest = np.abs(signal).max(axis=1, initial=0.0)
    scale = np.where(largest > 0, largest / INT16_MAX, 1.0).astype(np.float32)
    return np.clip(np.rint(signal / scale[:, None]), -INT16_MAX, INT16_MAX).astype(np.int16), scale


def _facts(stored: Segment, dtype: str, scale: np.ndarray | None) -> dict[str, Any]:
    """What the index says about a record besides its place. An unknown patient is -1, no patient at all null."""
    patient = -1 if stored.names_patient and stored.patient is None else stored.patient
    scales = None if scale is None else scale.tolist()
    return {"rate": stored.rate, "dtype": dtype, "scale": scales, "idx": stored.idx, "patient": patient}


def _part(folder: Path, number: int) -> Path:
    return folder / f"{shard_name(number)}.part.arrow"


def _note(index: Path, key: bytes) -> bytes | None:
    return read_index(index)[1].get(key) if index.is_file() else None


def _is_written(folder: Path, number: int, plan: PackPlan) -> bool:
    there = (folder / shard_name(number)).is_file()
    return there and _note(_part(folder, number), b"fingerprint") == plan.fingerprints[number].encode()


def _is_complete(folder: Path, plan: PackPlan) -> bool:
    there = all((folder / shard_name(number)).is_file() for number in range(len(plan.shards)))
    return there and _note(folder / INDEX, b"fingerprints") == json.dumps(plan.fingerprints).encode()


def _join_index(folder: Path, plan: PackPlan) -> None:
    import pyarrow as pa

    parts = [
        pa.ipc.open_file(pa.memory_map(os.fspath(_part(folder, number)))).read_all()
        for number in range(len(plan.shards))
    ]
    names = [shard_name(number) for number in range(len(plan.shards))]
    notes = {"shards": json.dumps(names), "fingerprints": json.dumps(plan.fingerprints)}
    write_index(folder / INDEX, pa.concat_tables(part.replace_schema_metadata(None) for part in parts), notes)


def _addresses(folder: Path, plan: PackPlan) -> dict[Unit, Slice]:
    """Where every unit lies, and every record on its own; the index lists records in the order of the plan."""
    columns, _ = read_index(folder / INDEX)
    offsets, sizes = columns["offset"].to_numpy(), columns["bytes"].to_numpy()
    found: dict[Unit, Slice] = {}
    row = 0
    for number, units in enumerate(plan.shards):
        for unit in units:
            found[unit] = Slice(shard_name(number), int(offsets[row]), int(sizes[row : row + len(unit)].sum()))
            for record in unit:
                found.setdefault((record,), Slice(shard_name(number), int(offsets[row]), int(sizes[row])))
                row += 1
    return found


def _manifest_rows(manifest: Manifest, addresses: dict[Unit, Slice]) -> Iterator[tuple[str, ...]]:
    for index, (_, samples, *others) in enumerate(manifest.rows()):
        unit = _unit(manifest, index)
        if manifest.kind == "cmsc":
            others = ["0", ",".join(map(str, range(len(unit))))]
        yield (str(addresses[unit]), samples, *others)
