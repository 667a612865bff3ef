"""Time HuBERT-ECG's pretraining step and feature dump against a plain reading of the published code.

    python tools/bench/hubert.py                                  # base model, 4 ECGs, 500 clusters, one thread
    python tools/bench/hubert.py --size tiny --batch 2 --clusters 50 --repeat 2 --records 8
    python tools/bench/hubert.py --device cuda --batch 64 --compile

Both sides see the same weights, ECGs, masks and targets; with every dropout at 0 their losses and gradients must agree
to 1e-4 before anything is timed. A step is forward, backward and optimizer; the variants take turns and the smallest
time counts. Memory is what two steps add to the process, weights aside (on a GPU: the most that was allocated); each
side in a process of its own.
"""

import argparse
import multiprocessing
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from plain_hubert import PlainHubert, plain_cepstra, plain_time_frequency
from torch import Tensor
from turns import OurStep, PlainStep, check_agreement, smallest_times, step_arguments, time_steps

from ecg_signals.clustering.features import DescriptorOptions, describe
from ecg_signals.registry import build

DROPOUTS = ("hidden_dropout", "activation_dropout", "attention_dropout")
RATES = {"lr": 5e-5, "betas": (0.9, 0.98), "eps": 1e-9, "weight_decay": 0.01}
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"conv_dim": [16] * 5, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
             "intermediate_size": 64},
    "small": {"hidden_size": 512, "num_hidden_layers": 8, "num_attention_heads": 8, "intermediate_size": 2048},
    "base": {},
    "large": {"hidden_size": 960, "num_hidden_layers": 16, "intermediate_size": 3840, "classifier_proj_size": 512},
}  # fmt: skip


def steps(options: dict[str, Any], device: torch.device, compiled: bool = False) -> tuple[OurStep, PlainStep]:
    """Both sides, with the same weights."""
    torch.manual_seed(0)
    model, criterion = build("model", "hubert_ecg", **options), build("criterion", "hubert_pretraining")
    ours = OurStep(model, criterion, "adamw", RATES, arranged, device, compiled)
    return ours, PlainHubert(model.state_dict(), model.cfg.to_dict(), RATES)


def arranged(batch: dict[str, Tensor]) -> dict[str, Any]:
    net_input = {"source": batch["source"], "mask_time_indices": batch["mask"]}
    return {"net_input": net_input, "cluster_labels": batch["labels"]}


def make_batch(items: int, clusters: int, device: torch.device) -> dict[str, Tensor]:
    torch.manual_seed(1)
    mask = torch.zeros(items, 93, dtype=torch.bool)
    for row in mask:
        row[torch.randperm(93)[:31]] = True
    source, labels = torch.rand(items, 12, 500) * 2 - 1, torch.randint(clusters, (items, 1, 93))
    return {"source": source.to(device), "mask": mask.to(device), "labels": labels.to(device)}


def peak_memory(
    side: str, options: dict[str, Any], items: int, clusters: int, device: torch.device, queue: Any
) -> None:
    """Put the extra memory of one side's steps, in MB, into the queue; runs in a process of its own."""
    torch.set_num_threads(1)
    batch = make_batch(items, clusters, device)
    ours, plain = steps(options, device)
    step = ours if side == "ours" else plain
    before = own_memory("VmRSS")
    step(batch)
    step(batch)
    if device.type == "cuda":
        queue.put(torch.cuda.max_memory_allocated() / 2**20)
    else:
        queue.put(own_memory("VmHWM") - before)


def own_memory(field: str) -> float:
    """MB of this process: VmRSS now, VmHWM at its highest."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[field].split()[0]) / 1024


def bench_step(arguments: argparse.Namespace, device: torch.device) -> None:
    options = {**SIZES[arguments.size], "vocab_sizes": [arguments.clusters], "layerdrop": 0.0}
    batch = make_batch(arguments.batch, arguments.clusters, device)
    check_agreement("pretraining", *steps({**options, **dict.fromkeys(DROPOUTS, 0.0)}, device), batch)
    time_steps(partial(steps, options, device), batch, arguments.repeat, arguments.compile)
    context = multiprocessing.get_context("spawn")
    for side in ("published", "ours"):
        queue = context.Queue()
        process = context.Process(
            target=peak_memory, args=(side, options, arguments.batch, arguments.clusters, device, queue)
        )
        process.start()
        print(f"  memory of a step, {side}: {queue.get():.0f} MB")
        process.join()


def bench_dump(records: int, repeat: int) -> None:
    signals = np.random.default_rng(0).uniform(-1, 1, (records, 12, 2500))
    published = {"time_freq": plain_time_frequency, "mfcc": plain_cepstra}
    for kind, function in published.items():
        options = DescriptorOptions(kind, 100, low_frequency=20.0, deltas="shard")
        found, expected = describe(signals, options), np.stack([function(signal) for signal in signals])
        found = found[..., : expected.shape[-1]]
        worst = np.max(np.abs(found - expected) / np.maximum(np.abs(expected), 1e-3))
        few = signals[:8]
        sides: dict[str, Callable[[], Any]] = {
            "published": lambda function=function, few=few: [function(signal) for signal in few],  # type: ignore[misc]
            "ours": lambda options=options: describe(signals, options),  # type: ignore[misc]
        }
        times = smallest_times(sides, repeat, torch.device("cpu"))
        rates = len(few) / times["published"], records / times["ours"]
        print(
            f"  {kind:10} published {rates[0]:7.1f} records/s, ours {rates[1]:7.1f}: {rates[1] / rates[0]:.1f} x "
            f"(largest relative difference {worst:.1e})"
        )


def main() -> None:
    clusters, records = (500, None), (64, "ECGs described at once")
    arguments = step_arguments(__doc__, SIZES, "base", 4, 3, "cpu", clusters=clusters, records=records)
    print(f"{arguments.size}, {arguments.batch} ECGs, {arguments.clusters} clusters, {arguments.device}")
    bench_step(arguments, arguments.device)
    print(f"descriptors of {arguments.records} ECGs at 100 Hz, one process")
    bench_dump(arguments.records, arguments.repeat)


if __name__ == "__main__":
    main()
