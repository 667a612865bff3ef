"""How long a probe takes without and with its encoder's features computed once, in seconds and in seconds of the CPU.

    python tools/bench/probe.py --dim 192 --depth 8 --items 500 --epochs 20

Random segments of 10 s, 12 leads, crops of 2.5 s at the windows' starts; an attentive pool on an encoder of random
weights. Filling the cache is counted: every window once, where an epoch without cache asks for one window of a training
item. Windows half over each other bound the ratio at 6.3, side by side, `--stride 1250`, at 8. Losses of
both runs are compared.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from ecg_signals.composition import resolve_config
from ecg_signals.trainer import Trainer


def make_data(folder: Path, items: int) -> None:
    """Segments [12, 5000] at 500 Hz, a manifest for each split, and five labels."""
    rng = np.random.default_rng(1)
    (folder / "segmented").mkdir(parents=True)
    for item in range(items):
        content = {"feats": rng.standard_normal((12, 5000)).astype(np.float32), "curr_sample_rate": 500, "idx": item}
        scipy.io.savemat(folder / "segmented" / f"r{item}.mat", content)
    rows = [f"r{item}.mat\t5000\n" for item in range(items)]
    for split, own in (("train", rows[: items * 4 // 5]), ("valid", rows[items * 4 // 5 :])):
        (folder / f"{split}.tsv").write_text(f"{folder / 'segmented'}\n{''.join(own)}")
    np.save(folder / "y.npy", rng.integers(0, 2, (items, 5)).astype(np.float64))


def recipe(folder: Path, options: argparse.Namespace, cached: bool) -> dict[str, Any]:
    encoder = {"_name": "vit", "dim": options.dim, "depth": options.depth, "num_heads": options.dim // 48}
    return {
        "common": {"log_format": "none", "log_interval": 1, "cpu": options.cpu},
        "task": {"_name": "ecg_classification", "data": str(folder), "label_file": str(folder / "y.npy"),
                 "max_sample_size": 1250},
        "dataset": {"batch_size": options.batch, "num_workers": 0, "window_stride": options.stride,
                    "crop_starts": "windows", "cache_features": cached},
        "model": {"_name": "classifier", "encoder": encoder, "num_labels": 5, "freeze_encoder": True,
                  "no_pretrained_weights": True, "pool": "attentive", "pool_heads": options.dim // 48},
        "criterion": {"_name": "binary_cross_entropy_with_logits", "report_auc": True},
        "optimizer": {"_name": "adamw"},
        "optimization": {"max_epoch": options.epochs, "lr": [1e-3]},
        "checkpoint": {"save_dir": str(folder / f"run_{cached}"), "no_epoch_checkpoints": True},
    }  # fmt: skip


def seconds(folder: Path, options: argparse.Namespace, cached: bool) -> tuple[np.ndarray, list[float]]:
    """Of a whole run, on the clock and of the CPU; and its losses."""
    trainer = Trainer(resolve_config(recipe(folder, options, cached)))
    began = clocks()
    trainer.train()
    spent = clocks() - began
    rows = [json.loads(line) for line in (folder / f"run_{cached}" / "metrics.jsonl").read_text().splitlines()]
    return spent, [row["loss"] for row in rows]


def clocks() -> np.ndarray:
    return np.array([time.perf_counter(), time.process_time()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, usual in (("dim", 192), ("depth", 8), ("items", 500), ("batch", 32), ("epochs", 20), ("stride", 625)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    parser.add_argument("--cpu", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        make_data(Path(place), options.items)
        (plain, losses), (cached, again) = (seconds(Path(place), options, once) for once in (False, True))
    apart = float(np.abs(np.array(losses) - np.array(again)).max())
    for name, before, after in zip(("clock", "CPU"), plain / options.epochs, cached / options.epochs):
        print(f"{name}: plain {before:.3f} s per epoch, cached {after:.3f} s: {before / after:.1f}x")
    print(f"losses differ by at most {apart:.1e}")


if __name__ == "__main__":
    main()
