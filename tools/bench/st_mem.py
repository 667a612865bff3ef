"""Time ST-MEM's data path and pretraining step against a plain reading of the published code, in one run.

    python tools/bench/st_mem.py                                  # base model, 4 ECGs of 9 s, one thread
    python tools/bench/st_mem.py --size small --batch 2 --repeat 3
    python tools/bench/st_mem.py --device cuda --batch 64 --compile

Data: both sides make the same crops of the same records, and the signals must agree to 1e-4. A step is forward,
backward and optimizer with the same weights, ECGs and noise; losses and gradients must agree to 1e-4 before anything
is timed. The sides take turns and the smallest time counts.
"""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from plain_st_mem import PlainStMem, plain_item
from torch import Tensor
from turns import OurStep, check_agreement, smallest_times, step_arguments, tell, time_steps

from ecg_signals.data.datasets.base import BaseDataset
from ecg_signals.registry import build, get_entry

RATES = {"lr": 1.5e-4, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.01}
SIZES = {
    "narrow": {"embed_dim": 128, "depth": 4, "num_heads": 2, "decoder_embed_dim": 64, "decoder_depth": 2},
    "small": {"embed_dim": 384, "depth": 12, "num_heads": 6},
    "base": {},
}
SAMPLES, RATE = 2250, 500


def bench_items(records: int, repeat: int) -> None:
    """Records of 10 s at 500 Hz, as .npy beside an index -> a batch of filtered crops of 9 s at 250 Hz."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        signals = np.random.default_rng(0).standard_normal((records, 12, 10 * RATE)).cumsum(axis=-1) / 50
        for number, signal in enumerate(signals):
            np.save(folder / f"{number}.npy", signal.astype(np.float32))
        rows = "".join(f"{number}.npy,{RATE}\n" for number in range(records))
        (folder / "train.csv").write_text(f"FILE_NAME,SAMPLE_RATE\n{rows}")
        published, ours = (dataset(folder / "train.csv", scope) for scope in ("window", "record"))
        paths = [folder / f"{number}.npy" for number in range(records)]
        sides = {
            "published": lambda: torch.stack([plain_item(np.load(path), RATE) for path in paths]),
            "ours": lambda: batch_of(ours, records),
            "ours, as published": lambda: batch_of(published, records),  # filters every crop
        }
        worst = float((sides["published"]() - sides["ours, as published"]()).abs().max())
        print(f"data: the two sides' signals differ by at most {worst:.1e}")
        if not worst < 1e-4:
            raise SystemExit("the two sides do not agree; no time is worth comparing")
        tell(f"{records} records to crops", smallest_times(sides, repeat, torch.device("cpu")))


def dataset(index: Path, scope: str) -> BaseDataset:
    entry = get_entry("dataset", "st_mem_index")
    options = {"sample_rate": 250, "filter_scope": scope, "train_crop": "center"}
    return entry.cls(entry.dataclass.from_mapping({"_name": "st_mem_index", **options}), index, training=True)


def batch_of(found: BaseDataset, records: int) -> Tensor:
    return found.collate([found[number] for number in range(records)])["net_input"]["source"]


def steps(size: str, device: torch.device, compiled: bool = False) -> tuple[OurStep, PlainStMem]:
    """Both sides, with the same weights."""
    torch.manual_seed(0)
    model, criterion = build("model", "st_mem", **SIZES[size]), build("criterion", "mae")
    ours = OurStep(model, criterion, "adamw", RATES, lambda batch: {"net_input": batch}, device, compiled)
    return ours, PlainStMem(model.state_dict(), model.cfg.to_dict(), RATES)


def make_batch(items: int, device: torch.device) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {"source": torch.randn(items, 12, SAMPLES).to(device), "noise": torch.rand(items, 12, 30).to(device)}


def main() -> None:
    records = 64, "records that are cropped and filtered"
    arguments = step_arguments(__doc__, SIZES, "base", batch=4, repeat=5, records=records)
    bench_items(arguments.records, arguments.repeat)
    both, batch = partial(steps, arguments.size, arguments.device), make_batch(arguments.batch, arguments.device)
    check_agreement(f"{arguments.size}, {arguments.batch} ECGs", *both(), batch)
    time_steps(both, batch, arguments.repeat, arguments.compile)


if __name__ == "__main__":
    main()
