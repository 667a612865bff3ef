"""What the published program's tiny models left behind."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ecg_signals.checkpoint.load import load_model


def arrays(path: Path) -> dict[str, Tensor]:
    """Float16 as float32, integers as they are."""
    stored = np.load(path)
    return {key: torch.from_numpy(stored[key]) for key in stored.files}


class Tiny:
    """One of the published program's tiny models, `tiny_a` or `tiny_b`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = json.loads((folder / "train_log.json").read_text())
        self.config: dict[str, Any] = self.log["config"]
        self.steps = len(self.log["steps"])

    def file(self, name: str) -> dict[str, Any]:
        return torch.load(self.folder / name, weights_only=True)

    def model(self, name: str = "init.pt", **options: Any) -> Any:
        return load_model(self.folder / name, **options)

    def batch(self, inputs: dict[str, Tensor], number: int | None = None) -> dict[str, Any]:
        at = "" if number is None else f"_{number}"
        names = {"source": "x", "mask_encoder": "mask_encoder", "mask_predictor": "mask_predictor"}
        found = {ours: inputs[theirs + at] for ours, theirs in names.items()}
        return {"net_input": {**found, "source": found["source"].float()}}
