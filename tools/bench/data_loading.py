"""CMSC pairs per second, from `.mat` files and packed records: our loader against a plain reference loader.

The reference is written from the published description: scipy.io.loadmat for every segment, float32 tensors, random
lead masking, stacking, all in the calling process. Both read the same files in turn, and the signals must be equal.

    python tools/bench/data_loading.py --records 400 --batch-size 64
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.io import loadmat, savemat

from ecg_signals.data.batching import BatchIterator
from ecg_signals.data.pack import pack_manifests
from ecg_signals.registry import get_entry

LEADS, SAMPLES, RATE = 12, 2500, 500


def write_records(folder: Path, records: int, dtype: str) -> None:
    rng = np.random.default_rng(0)
    for record in range(records):
        for segment in range(2):
            feats = rng.standard_normal((LEADS, SAMPLES)).astype(dtype)
            scalars = {"curr_sample_rate": RATE, "org_sample_rate": RATE, "idx": record, "segment_i": segment}
            sizes = {"org_sample_size": 2 * SAMPLES, "curr_sample_size": SAMPLES}
            statistics = {"mean": np.zeros((LEADS, 1)), "std": np.ones((LEADS, 1))}
            savemat(folder / f"r{record:06}_{segment}.mat", {**scalars, **sizes, "feats": feats, **statistics})
    rows = "".join(f"r{record:06}\t{SAMPLES}\t0\t0,1\n" for record in range(records))
    (folder / "train.tsv").write_text(f"{folder}\nmat\n{rows}")


class ReferenceLoader:
    """One row after the other: load both segments, mask leads, stack."""

    def __init__(self, folder: Path, records: int, batch_size: int, mask: bool) -> None:
        self.stems = [str(folder / f"r{record:06}") for record in range(records)]
        self.batch_size = batch_size
        self.mask = mask

    def item(self, index: int) -> list[dict[str, Any]]:
        found = []
        for segment in range(2):
            ecg = loadmat(f"{self.stems[index]}_{segment}.mat")
            assert int(ecg["curr_sample_rate"][0, 0]) == RATE
            source = torch.from_numpy(ecg["feats"]).float()
            if self.mask:
                source = torch.where(torch.from_numpy(np.random.uniform(size=LEADS) >= 0.5)[:, None], source, 0.0)
            found.append({"id": index, "source": source, "patient_id": int(ecg["idx"][0, 0]), "segment": segment})
        return found

    def batches(self) -> Iterator[dict[str, Any]]:
        for start in range(0, len(self.stems), self.batch_size):
            rows = range(start, min(start + self.batch_size, len(self.stems)))
            items = [segment for index in rows for segment in self.item(index)]
            source = torch.stack([item["source"] for item in items])
            batch = {key: torch.tensor([item[key] for item in items]) for key in ("id", "patient_id", "segment")}
            padding_mask = torch.zeros(source.shape, dtype=torch.bool)
            yield {**batch, "net_input": {"source": source, "padding_mask": padding_mask}}


def our_loader(folder: Path, batch_size: int, mask: bool, num_workers: int = 0) -> BatchIterator:
    entry = get_entry("dataset", "cmsc")
    modes = ["random_leads_masking"] if mask else None
    cfg = entry.dataclass.from_mapping({"_name": "cmsc", "enable_padding": True, "perturbation_mode": modes})
    dataset = entry.cls(cfg, folder / "train.tsv", training=True)
    return BatchIterator(dataset, batch_size=batch_size, shuffle=False, num_workers=num_workers)


def pairs_per_second(loaders: dict[str, Callable[[], Iterator[Any]]], records: int, seconds: float) -> dict[str, float]:
    """Each loader's best pass, taken in turns for `seconds`; in CPU seconds, whatever else the machine does."""
    best = dict.fromkeys(loaders, 0.0)
    started = time.perf_counter()
    while not all(best.values()) or time.perf_counter() - started < seconds:
        for name, batches in loaders.items():
            begun = time.process_time()
            for _ in batches():
                pass
            best[name] = max(best[name], records / (time.process_time() - begun))
    return best


def check_equal(ours: BatchIterator, reference: ReferenceLoader, tolerance: float) -> None:
    for mine, plain in zip(ours.batches(1), reference.batches(), strict=True):
        torch.testing.assert_close(mine["net_input"]["source"], plain["net_input"]["source"], rtol=0, atol=tolerance)
        assert mine["segment"].tolist() == plain["segment"].tolist()
        assert torch.equal(mine["net_input"]["padding_mask"], plain["net_input"]["padding_mask"])


def compare(arguments: argparse.Namespace, dtype: str, folder: Path) -> None:
    write_records(folder, arguments.records, dtype)
    pack_manifests(folder, folder / "packed")
    for mask in (False, True):
        reference = ReferenceLoader(folder, arguments.records, arguments.batch_size, mask)
        files = our_loader(folder, arguments.batch_size, mask)
        packed = our_loader(folder / "packed", arguments.batch_size, mask)
        if not mask:
            check_equal(files, reference, 0.0)
            check_equal(packed, reference, 0.0)
        ours = {".mat": partial(files.batches, 1), "packed": partial(packed.batches, 1)}
        loaders = {"reference": reference.batches, **ours}
        rates = pairs_per_second(loaders, arguments.records, arguments.seconds)
        print(f"{dtype} files, {'random lead masking' if mask else 'no augmentation'}:")
        for name, rate in rates.items():
            print(f"  {name:9} {rate:8,.0f} pairs/s  {rate / rates['reference']:5.2f} x", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=300, help="records of two segments")
    parser.add_argument("--batch-size", type=int, default=64, help="pairs per batch")
    parser.add_argument("--seconds", type=float, default=5.0, help="measuring time of every comparison")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for dtype in ("float32", "float64"):
        with tempfile.TemporaryDirectory() as folder:
            compare(arguments, dtype, Path(folder))


if __name__ == "__main__":
    main()
