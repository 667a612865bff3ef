"""Ten million rows: what compiling, opening and reading a manifest of them takes, in seconds and in memory of its own.

A store is made whose shards are one small file, with its index and a manifest of all records; and a folder of manifests
that name as many files, which are not there, to be planned by ecg-pack. Each step runs in a process of
its own, which tells its peak of memory (RSS; pages of mapped files count) and what is private to it (Private_Dirty).

    python tools/bench/ten_million.py --rows 10000000 --folder /tmp/ten_million
"""

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

LEADS, SAMPLES, RECORDS = 12, 250, 2000  # of a shard
RECORD_BYTES = LEADS * SAMPLES * 4
HEADER = 128


def make_store(folder: Path, rows: int) -> None:
    """One shard of 24 MB under thousands of names (hard links), their index, and a manifest of all records."""
    import pyarrow as pa

    from ecg_signals.data.sources.packed import facts_of, row_batch, write_index
    from ecg_signals.readers.npy_file import npy_header

    folder.mkdir(parents=True)
    names = [f"shard_{number:05}.npy" for number in range(rows // RECORDS)]
    values = np.random.default_rng(0).standard_normal((RECORDS, LEADS, SAMPLES), dtype=np.float32)
    (folder / names[0]).write_bytes(npy_header(values.shape, values.dtype) + values.tobytes())
    for name in names[1:]:
        os.link(folder / names[0], folder / name)
    told = {"shard": 0, "bytes": RECORD_BYTES, "leads": LEADS, "rate": 500.0, "dtype": "float32", "patient": 1}
    offsets = [HEADER + row * RECORD_BYTES for row in range(RECORDS)]
    batch = row_batch([{**told, "offset": offset, "idx": row} for row, offset in enumerate(offsets)])
    numbers = (pa.array(np.full(RECORDS, number, np.int32)) for number in range(len(names)))
    batches = (batch.set_column(0, "shard", number) for number in numbers)
    write_index(folder / "index.arrow", batches, names, [facts_of(folder / names[0])] * len(names))
    with (folder / "train.tsv").open("w") as file:
        file.write(f"{folder}\n")
        for name in names:
            file.writelines(f"{name}:{offset}:{RECORD_BYTES}\t{SAMPLES}\n" for offset in offsets)


def make_files(folder: Path, rows: int) -> None:
    """Manifests of pairs and of single segments, one record in two segments, of files that need not exist."""
    (folder / "files").mkdir(parents=True)
    (folder / "cmsc").mkdir()
    from scipy.io import savemat

    facts = {"curr_sample_rate": 500, "idx": 0}
    savemat(folder / "files" / "r00000000_0.mat", {"feats": np.zeros((LEADS, SAMPLES), np.float32), **facts})
    with (folder / "train.tsv").open("w") as plain, (folder / "cmsc/train.tsv").open("w") as pairs:
        plain.write(f"{folder}/files\n")
        pairs.write(f"{folder}/files\nmat\n")
        for record in range(rows // 2):
            plain.write(f"r{record:08}_0.mat\t{SAMPLES}\nr{record:08}_1.mat\t{SAMPLES}\n")
            pairs.write(f"r{record:08}\t{SAMPLES}\t0\t0,1\n")


def private() -> float:
    """MB of memory that this process alone holds."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty")) / 1e3


def measured(name: str, step: Callable[..., dict[str, Any]], *given: Any) -> None:
    """Run `step` in a new process and print what it took."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = pool.submit(_timed, step, given).result()
    print(f"{name:34}" + "  ".join(f"{key} {value:,.1f}" for key, value in found.items()), flush=True)


def _timed(step: Callable[..., dict[str, Any]], given: tuple[Any, ...]) -> dict[str, Any]:
    multiprocessing.set_start_method("fork", force=True)  # as in a process that a user starts
    started = time.perf_counter(), time.process_time()
    found = step(*given)
    seconds = {"s": time.perf_counter() - started[0], "cpu s": time.process_time() - started[1]}
    return {**seconds, "peak RSS MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, **found}


def open_manifest(path: Path) -> dict[str, Any]:
    import pyarrow  # noqa: F401  what every process of ours holds is not the manifest's

    import ecg_signals.data.sources.files  # noqa: F401
    from ecg_signals.data.manifest import Manifest

    before = private()
    manifest = Manifest(path)
    rng = np.random.default_rng(0)
    for row in rng.integers(len(manifest), size=10_000):
        manifest.addresses(int(row))
    return {"private MB more": private() - before}


def first_batch(path: Path, workers: int, start: float, shared: bool) -> dict[str, Any]:
    """From nothing to the first batch of an epoch from `start` (a share of it) on."""
    from ecg_signals.data.batching import BatchIterator
    from ecg_signals.registry import get_entry

    entry = get_entry("dataset", "ecg_file")
    cfg = entry.dataclass.from_mapping({"_name": "ecg_file", "enable_padding": True, "max_sample_size": SAMPLES})
    import torch  # noqa: F401

    before, begun = private(), time.perf_counter()
    dataset = entry.cls(cfg, path, training=True)
    batches = BatchIterator(dataset, batch_size=64, num_workers=workers)
    epoch = 1
    at = int(batches.num_batches(epoch) * start)
    found = {}
    for number, _ in enumerate(batches.batches(epoch, at)):
        if number == 0:
            found["first batch s"] = time.perf_counter() - begun
        if number == 50:
            break
    if not workers:  # what is there before processes are forked counts as shared
        found["private MB more"] = private() - before
    else:
        if shared:  # the next epoch's order takes the place of this one's
            batches.plan(2)
        pids = [worker.pid for worker in batches._loader._iterator._workers]
        found["a worker's private MB"] = max(_private_of(pid) for pid in pids)
    batches.close()
    return found


def _private_of(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty")) / 1e3


def plan(folder: Path) -> dict[str, Any]:
    from ecg_signals.data.pack import _manifests
    from ecg_signals.data.pack_plan import make_plan

    found = make_plan(_manifests(folder, folder / "dest"), folder / "dest", None, "float32", 1 << 30)
    return {"records": float(len(found.stored)), "shards": float(len(found))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/ten_million"))
    parser.add_argument("--keep", action="store_true", help="leave the folder for another run")
    arguments = parser.parse_args()
    folder, rows = arguments.folder, arguments.rows
    os.environ["ECG_SIGNALS_CACHE"] = str(folder / "cache")
    if not (folder / "done.json").is_file():
        make_store(folder / "store", rows)
        make_files(folder / "manifests", rows)
        (folder / "done.json").write_text(json.dumps(rows))
    shutil.rmtree(folder / "cache", ignore_errors=True)
    path = folder / "store" / "train.tsv"
    measured("compile a manifest", open_manifest, path)
    measured("open it again", open_manifest, path)
    for workers in (0, 2):
        measured(f"first batch, {workers} loading processes", first_batch, path, workers, 0.0, False)
    measured("in the middle of an epoch, 2", first_batch, path, 2, 0.5, True)
    measured("compile two manifests and plan", plan, folder / "manifests")
    measured("plan again", plan, folder / "manifests")
    if not arguments.keep:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
