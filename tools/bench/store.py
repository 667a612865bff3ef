"""A packed store against one .mat file a record: random access, and pairs per second of the CMSC loader.

Everything comes from one run, the sides in turns, each side's best, page cache warm. Records are 12 x 2500 float32.
Rates are per CPU second, so that they hold whatever else the machine does; `--wall` counts seconds instead. Loading
processes are timed by the CPU seconds that they themselves use.

    python tools/bench/store.py --records 1000
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from data_loading import our_loader, write_records
from scipy.io import loadmat

from ecg_signals.data.batching import BatchIterator
from ecg_signals.data.manifest import Manifest
from ecg_signals.data.pack import pack_manifests
from ecg_signals.data.sources.files import FileSource

BATCH = 64
CLOCK = {"cpu": time.process_time, "wall": time.perf_counter}


Read = Callable[[int], np.ndarray]


def reader(folder: Path) -> Read:
    """Gives the record of a number, [leads, samples], as the datasets get it: a view of the shard, or of the file."""
    manifest = Manifest(folder / "train.tsv")
    source = FileSource(manifest.root)
    addresses = [address for row in range(len(manifest)) for address in manifest.addresses(row)]
    return lambda number: source.read(addresses[number]).signal


def by_scipy(folder: Path) -> Read:
    manifest = Manifest(folder / "train.tsv")
    paths = [os.path.join(manifest.root, name) for row in range(len(manifest)) for name in manifest.addresses(row)]
    return lambda number: loadmat(paths[number])["feats"]


def all_of(read: Read, order: np.ndarray) -> Callable[[], None]:
    """Reads every record in a random order."""
    return lambda: [read(number) for number in order.tolist()] and None


def batches_of(read: Read, order: np.ndarray) -> Callable[[], None]:
    """The same, records next to each other in the memory of a batch, which is used again."""
    out = np.empty((BATCH, *read(0).shape), dtype=np.float32)

    def run() -> None:
        for place, number in enumerate(order.tolist()):
            out[place % BATCH] = read(number)

    return run


def load(folder: Path, batch_size: int) -> Callable[[], None]:
    loader = our_loader(folder, batch_size, mask=True)

    def read() -> None:
        for _ in loader.batches(1):
            pass

    return read


def best_rates(jobs: dict[str, Callable[[], None]], count: int, seconds: float, clock: str) -> dict[str, float]:
    best, now = dict.fromkeys(jobs, 0.0), CLOCK[clock]
    begun = time.perf_counter()
    while not all(best.values()) or time.perf_counter() - begun < seconds:
        for name, job in jobs.items():
            start = now()
            job()
            best[name] = max(best[name], count / (now() - start))
    return best


def in_a_process(folder: Path, batch_size: int, pairs: int, epochs: int) -> float:
    """Pairs per second of the processor's time that one loading process uses; the best epoch."""
    loader = our_loader(folder, batch_size, mask=True, num_workers=1)
    best = 0.0
    for epoch in range(1, epochs + 2):
        before = _of_process(loader) if epoch > 1 else 0.0
        for _ in loader.batches(epoch):
            pass
        if epoch > 1:  # the first one maps the shards
            best = max(best, pairs / (_of_process(loader) - before))
    loader.close()
    return best


def _of_process(loader: BatchIterator) -> float:
    """Seconds of the processor that a loader's process and its threads have used, from the kernel's nanoseconds."""
    (worker,) = loader._loader._iterator._workers
    threads = Path(f"/proc/{worker.pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=500, help="records of two segments")
    parser.add_argument("--batch-size", type=int, default=64, help="pairs per batch")
    parser.add_argument("--seconds", type=float, default=5.0, help="measuring time of every comparison")
    parser.add_argument("--wall", action="store_true", help="seconds instead of CPU seconds")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    clock, records = "wall" if arguments.wall else "cpu", arguments.records
    with tempfile.TemporaryDirectory() as place:
        folder, packed, counts = (Path(place) / name for name in ("files", "packed", "int16"))
        folder.mkdir()
        write_records(folder, records, "float32")
        pack_manifests(folder, packed)
        pack_manifests(folder, counts, dtype="int16")
        order = np.random.default_rng(0).permutation(2 * records)
        sides = {"packed": packed, "int16": counts, ".mat": folder}
        readers = {name: reader(path) for name, path in sides.items()} | {"scipy": by_scipy(folder)}
        for what, way in (("as it is read", all_of), ("copied into a batch of 64", batches_of)):
            jobs = {name: way(read, order) for name, read in readers.items()}
            rates = best_rates(jobs, 2 * records, arguments.seconds, clock)
            report(f"random access, {what}, records/s", rates, ".mat", "scipy")
        loaders = {name: load(path, arguments.batch_size) for name, path in sides.items()}
        report("CMSC with RLM, pairs/s", best_rates(loaders, records, arguments.seconds, clock), ".mat")
        epochs = max(1, 8000 // records)
        rates = {name: in_a_process(path, arguments.batch_size, records, epochs) for name, path in sides.items()}
        report("CMSC with RLM, pairs/s and CPU second of a loading process", rates, ".mat")


def report(what: str, rates: dict[str, float], *bases: str) -> None:
    print(f"{what}:")
    for name, rate in rates.items():
        ratios = "".join(f"  {rate / rates[base]:6.2f} x {base}" for base in bases)
        print(f"  {name:8} {rate:10,.0f}{ratios}", flush=True)


if __name__ == "__main__":
    main()
