"""How much of an update is neither forward, backward nor optimizer step: logging, statistics, bookkeeping, loading.

    python tools/bench/trainer_overhead.py MANIFESTS/cmsc --updates 20
    python tools/bench/trainer_overhead.py MANIFESTS/cmsc --layers 2 --width 64 --pairs 2 --updates 50

Trains W2V+CMSC+RLM with a printed and stored line for every update, and counts CPU time, so that a busy machine does
not matter. Start-up (from the command to the first update) is measured in a process of its own.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ecg_signals.composition import resolve_config
from ecg_signals.trainer import Trainer


class Stopwatch:
    """CPU seconds spent inside the functions it wraps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **options: Any) -> Any:
            began = time.process_time()
            try:
                return function(*args, **options)
            finally:
                self.seconds += time.process_time() - began

        return timed


def recipe(arguments: argparse.Namespace, folder: str) -> dict[str, Any]:
    """W2V+CMSC+RLM as the recipe has it, in the asked size."""
    masking = {"perturbation_mode": ["random_leads_masking"], "p": [1.0], "enable_padding": True}
    return {
        "common": {"log_interval": 1, "log_format": "json", "bf16": arguments.bf16},
        "task": {"_name": "ecg_pretraining", "data": str(arguments.manifests), **masking},
        "dataset": {"batch_size": arguments.pairs, "num_workers": 0, "disable_validation": True},
        "model": {
            "_name": "wav2vec2_cmsc", "apply_mask": True, "mask_prob": 0.65, "quantize_targets": True, "final_dim": 256,
            "dropout_input": 0.1, "dropout_features": 0.1, "feature_grad_mult": 0.1,
            "encoder_layers": arguments.layers, "encoder_embed_dim": arguments.width,
            "encoder_ffn_embed_dim": 4 * arguments.width, "encoder_attention_heads": max(1, arguments.width // 64),
        },
        "criterion": {"_name": "wav2vec2_with_cmsc", "infonce": True, "loss_weights": [0.1, 10]},
        "optimizer": {"_name": "adam", "adam_betas": [0.9, 0.98], "adam_eps": 1e-6, "weight_decay": 0.01},
        "optimization": {"max_update": arguments.updates, "lr": [5e-5]},
        "checkpoint": {"save_dir": folder, "save_interval": 10**6, "no_last_checkpoints": True},
    }  # fmt: skip


def measure(arguments: argparse.Namespace, folder: str) -> None:
    trainer = Trainer(resolve_config(recipe(arguments, folder)))
    work, loading = Stopwatch(), Stopwatch()
    trainer.criterion.forward = work.wrap(trainer.criterion.forward)
    torch.Tensor.backward = work.wrap(torch.Tensor.backward)  # type: ignore[method-assign]
    trainer.optimizer.step = work.wrap(trainer.optimizer.step)  # type: ignore[method-assign]
    trainer.iterator._items.__class__.__getitems__ = loading.wrap(trainer.iterator._items.__class__.__getitems__)
    began = time.process_time()
    trainer.train()
    total = time.process_time() - began
    rest = total - work.seconds - loading.seconds
    print(f"{arguments.updates} updates: {1000 * total / arguments.updates:.1f} ms of CPU each")
    for name, seconds in (("forward, backward, step", work.seconds), ("loading", loading.seconds), ("all else", rest)):
        print(f"  {name:24} {1000 * seconds / arguments.updates:9.2f} ms  {100 * seconds / total:6.2f} %")


def start_up(arguments: argparse.Namespace, folder: str) -> None:
    options = (
        "--config-name w2v_cmsc_rlm dataset.batch_size=1 dataset.num_workers=0 dataset.disable_validation=true "
        "common.log_format=none optimization.max_update=1 checkpoint.no_save=true model.encoder_layers=1 "
        "model.encoder_embed_dim=64 model.encoder_attention_heads=1"
    )
    words = [*options.split(), f"task.data={arguments.manifests}", f"hydra.run.dir={folder}"]
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "ecg_signals.cli.train", *words], check=True, stdout=subprocess.DEVNULL)
    print(f"ecg-train with one small update, from start to end: {time.monotonic() - began:.2f} s on the wall")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifests", type=Path, help="folder with train.tsv of CMSC pairs")
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=4, help="pairs per update")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--bf16", action="store_true")
    arguments = parser.parse_args()
    arguments.manifests = arguments.manifests.resolve()
    with tempfile.TemporaryDirectory() as folder:
        start_up(arguments, folder)
        measure(arguments, folder)


if __name__ == "__main__":
    main()
