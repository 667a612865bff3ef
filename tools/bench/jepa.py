"""Time ECG-JEPA's masks, batches and pretraining step against a plain reading of the published code, in one run.

    python tools/bench/jepa.py                                   # ViT-S, 8 ECGs of 10 s, one thread
    python tools/bench/jepa.py --size vit_xs --batch 4 --repeat 3
    python tools/bench/jepa.py --device cuda --batch 256 --compile

Masks: both sides draw for the same number of rows; ours must hide as many patches. Batches: both read the same dump,
ours through its memory map, the published one from memory, and with the same crops the signals must be equal. A step
is forward, backward, optimizer and moving average, with the same weights, ECGs and masks; losses and gradients must
agree to 1e-4 before anything is timed. The sides take turns and the smallest time counts.
"""

import json
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from plain_jepa import PlainJepa, plain_batch, plain_masks
from torch import Tensor
from turns import OurStep, check_agreement, smallest_times, step_arguments, tell, time_steps

from ecg_signals.data.datasets.base import BaseDataset
from ecg_signals.models.jepa.masks import MaskRule
from ecg_signals.registry import build, get_entry

RATES = {"lr": 1e-3, "betas": (0.9, 0.99), "eps": 1e-6, "weight_decay": 0.01}
SIZES = {
    "vit_xs": {"dim": 192, "depth": 8, "num_heads": 4, "pred_dim": 96, "pred_depth": 8, "pred_num_heads": 4},
    "vit_s": {"dim": 384, "depth": 8, "num_heads": 6, "pred_dim": 192, "pred_depth": 8, "pred_num_heads": 6},
    "vit_b": {"dim": 768, "depth": 12, "num_heads": 12, "pred_dim": 384, "pred_depth": 12, "pred_num_heads": 12},
}
SAMPLES, PATCHES, ROWS, MOMENTUM = 5000, 200, 2048, 0.998


class OurJepaStep(OurStep):
    """With the moving average that the trainer's hook makes after every update."""

    def __call__(self, batch: dict[str, Tensor], bf16: bool = False) -> Tensor:
        loss = super().__call__(batch, bf16)
        self.model.after_update(0)
        return loss


def bench_masks(repeat: int) -> None:
    rule, rng = MaskRule(), np.random.default_rng(0)
    visible = [rule.draw(8, PATCHES, rng)[0].shape[1] for _ in range(64)]
    if not 30 <= min(visible) <= max(visible) <= 50:
        raise SystemExit("ours keep another share of the patches")
    sides = {
        "published": lambda: plain_masks(ROWS, PATCHES, 10, 0.15, 0.25),
        "ours": lambda: rule.draw(ROWS, PATCHES, rng),
    }
    tell(f"masks of {ROWS} rows", smallest_times(sides, repeat, torch.device("cpu")))


def bench_batches(repeat: int, records: int, batch: int) -> None:
    """Crops of 2.5 s out of 10 s, from one dump at 500 Hz."""
    crop = 1250
    with tempfile.TemporaryDirectory() as folder:
        dump = Path(folder) / "ptb-xl.npy"
        stored = np.random.default_rng(0).standard_normal((records, SAMPLES, 12)).astype(np.float16)
        np.save(dump, stored)
        ours = dataset(dump, crop)
        indices = np.random.default_rng(1).integers(len(ours), size=batch)
        sides = {
            "published": lambda: plain_batch(stored, indices, crop),
            "ours": lambda: ours.collate([ours[int(index)] for index in indices]),
        }
        mine = sides["ours"]()
        starts = mine["start"].tolist()
        expected = np.stack([stored[i, s : s + crop].T for i, s in zip(indices, starts)]).astype(np.float32)
        worst = np.abs(mine["net_input"]["source"].numpy() - np.clip(expected, -5, 5)).max()
        if worst:
            raise SystemExit(f"the two sides read other signals: they differ by {worst}")
        tell(f"batches of {batch} crops", smallest_times(sides, repeat, torch.device("cpu")))


def dataset(dump: Path, crop: int) -> BaseDataset:
    """Ours on one dump, whose values are taken as standardised already."""
    notes = {"dataset": "ptb-xl", "sample_rate": 500, "mean": [0.0] * 12, "std": [1.0] * 12}
    dump.with_name(f"{dump.name}.json").write_text(json.dumps(notes))
    entry = get_entry("dataset", "jepa_dump")
    return entry.cls(entry.dataclass.from_mapping({"_name": "jepa_dump", "window_samples": crop}), dump, training=True)


def steps(size: str, device: torch.device, compiled: bool = False) -> tuple[OurJepaStep, PlainJepa]:
    """Both sides, with the same weights."""
    torch.manual_seed(0)
    model = build("model", "jepa", encoder_momentum=MOMENTUM, **SIZES[size])
    ours = OurJepaStep(model, build("criterion", "jepa"), "adamw", RATES, lambda batch: {"net_input": batch}, device,
                       compiled)  # fmt: skip
    options = {**model.cfg.to_dict(), "momentum": MOMENTUM}
    return ours, PlainJepa(model.state_dict(), options, RATES)


def make_batch(items: int, device: torch.device) -> dict[str, Tensor]:
    torch.manual_seed(1)
    visible, masked = MaskRule(min_keep=0.2, max_keep=0.2).draw(items, PATCHES, np.random.default_rng(0))
    batch = {"source": torch.randn(items, 12, SAMPLES), "mask_encoder": visible, "mask_predictor": masked}
    return {key: torch.as_tensor(value).to(device) for key, value in batch.items()}


def main() -> None:
    records, crops = (512, "records of the dump"), (256, "crops per assembled batch")
    arguments = step_arguments(__doc__, SIZES, "vit_s", batch=8, repeat=5, crops=crops, records=records)
    bench_masks(arguments.repeat)
    bench_batches(arguments.repeat, arguments.records, arguments.crops)
    both, batch = partial(steps, arguments.size, arguments.device), make_batch(arguments.batch, arguments.device)
    check_agreement(f"{arguments.size}, {arguments.batch} ECGs", *both(), batch)
    time_steps(both, batch, arguments.repeat, arguments.compile)


if __name__ == "__main__":
    main()
