"""What a record costs ecg-preprocess, against the same steps with the wfdb package and scipy's savemat.

    OMP_NUM_THREADS=1 python tools/bench/preprocess.py SOURCE [--dataset ptbxl] [--records 100] [--rounds 5]

SOURCE: PTB-XL, or another dataset of WFDB records. Every record is read, checked, measured, resampled, standardised,
cut and written (org/ and segmented/), by one process. "wfdb" replaces the reading by `wfdb.rdrecord`; "wfdb, savemat"
also the writing by `scipy.io.savemat`, which together is what fairseq-signals' scripts do. Whatever else the machine
does, the ways take turns at every record, in the other order every second round, and a record counts with the least
processor time of its rounds. Files go to memory where the system has a folder for that: to make one on a disk costs 10
to 500 us, whoever writes it; `--folder /tmp` includes it. Printed are the means of these in milliseconds and the
ratios, in brackets those of the rounds' sums (median, least to greatest); and whether the files hold the same bits.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import wfdb
from scipy.io import loadmat, savemat

from ecg_signals.preprocess.options import parse_options
from ecg_signals.preprocess.pipeline import list_records, open_source, rows_of
from ecg_signals.preprocess.signals import process_record
from ecg_signals.registry import register_source
from ecg_signals.signal.record import Record

MEMORY = Path("/dev/shm")
SAVE = "ecg_signals.preprocess.signals.write_mat"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--dataset", default="ptbxl")
    parser.add_argument("--records", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=MEMORY if MEMORY.is_dir() else None, help="where files go")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        compare(args, Path(folder))


def compare(args: argparse.Namespace, folder: Path) -> None:
    cfg = parse_options([], register_source.get(args.dataset).dataclass)
    source = open_source(args.dataset, args.source, cfg, folder)
    table = list_records(source)
    (rows,) = rows_of(table.head(args.records), np.arange(min(args.records, len(table))), args.records)

    def written(name: str) -> Callable[[Any], Any]:
        return lambda row: process_record(source, row, folder / name)

    def by_wfdb(self: Any, row: Any) -> Record:
        return rdrecord(self.folder / row["path"])

    reading = patch.object(type(source), "read", by_wfdb)
    ways: dict[str, tuple[list[Any], Callable[[Any], Any]]] = {
        "reading, ours": ([], source.read),
        "reading, wfdb": ([], lambda row: rdrecord(source.folder / row["path"])),
        "all, ours": ([], written("ours")),
        "all, wfdb": ([reading], written("wfdb")),
        "all, wfdb, savemat": ([reading, patch(SAVE, save)], written("both")),
    }
    spent = take_turns(ways, rows, args.rounds, folder)
    least = {name: 1000 * each.min(axis=0).mean() for name, each in spent.items()}
    for name, value in least.items():
        print(f"{name:24}{value:8.2f} ms a record")
    for name, ours in (
        ("reading, wfdb", "reading, ours"), ("all, wfdb", "all, ours"), ("all, wfdb, savemat", "all, ours"),
    ):  # fmt: skip
        rounds = spent[name].sum(axis=1) / spent[ours].sum(axis=1)
        several = f"({np.median(rounds):.1f}, {rounds.min():.1f} to {rounds.max():.1f})"
        print(f"{f'{name} / ours':24}{least[name] / least[ours]:8.2f} x {several}")
    print(f"{same(folder / 'ours', folder / 'both')} files, equal to the bit")


def take_turns(
    ways: dict[str, tuple[list[Any], Callable[[Any], Any]]], rows: list[Any], rounds: int, folder: Path
) -> dict[str, np.ndarray]:
    """Seconds of the processor, [rounds, records] for each way; the first round, which fills caches, is left out.

    Args:
        folder: that they write to, emptied before every round.
    """
    spent = {name: np.zeros((rounds + 1, len(rows))) for name in ways}
    for turn in range(rounds + 1):
        shutil.rmtree(folder)  # to write a file anew costs more than to write it
        for place, row in enumerate(rows):
            for name in list(ways)[:: 1 if turn % 2 else -1]:
                spent[name][turn, place] = seconds(*ways[name], row)
    return {name: each[1:] for name, each in spent.items()}


def rdrecord(path: Path) -> Record:
    found = wfdb.rdrecord(str(path.with_suffix("")))
    signal = np.ascontiguousarray(found.p_signal.T, dtype=np.float32)
    return Record(signal, found.fs, found.sig_name, found.comments, {})


def save(path: Path, arrays: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, arrays)


def seconds(patches: list[Any], work: Callable[[Any], Any], row: Any) -> float:
    """Of the processor."""
    for item in patches:
        item.start()
    start = time.process_time()
    work(row)
    spent = time.process_time() - start
    for item in patches:
        item.stop()
    return spent


def same(ours: Path, theirs: Path) -> int:
    files = sorted(path.relative_to(ours) for path in ours.rglob("*.mat"))
    for name in files:
        first, second = loadmat(ours / name), loadmat(theirs / name)
        for key in first.keys() - {"__header__"}:
            np.testing.assert_array_equal(first[key], second[key], err_msg=f"{name}: {key}")
    return len(files)


if __name__ == "__main__":
    main()
