"""JEPA under the trainer: a stopped run goes on as if it had never stopped, and its file is what heads start from."""

from pathlib import Path
from typing import Any

import pytest
import torch

from ecg_signals.checkpoint.load import load_model
from ecg_signals.composition import resolve_config
from ecg_signals.trainer import Trainer


def recipe(data: Any, folder: Path, updates: int, target_update: str) -> dict[str, Any]:
    return {
        "common": {"log_interval": 1, "log_format": "none"},
        "task": {"_name": "ecg_pretraining", "data": str(data.single), "enable_padding": True},
        "dataset": {"_name": "ecg_file", "batch_size": 4, "num_workers": 0, "disable_validation": True},
        "model": {
            "_name": "jepa", "dim": 16, "depth": 1, "num_heads": 2, "pred_dim": 8, "pred_depth": 1, "pred_num_heads": 2,
            "encoder_momentum": 0.5, "final_encoder_momentum": 0.9, "final_weight_decay": 0.5, "patch_size": 50,
            "min_block_size": 4, "target_update": target_update, "max_update": 6,
        },
        "criterion": {"_name": "jepa"},
        "optimizer": {"_name": "adamw", "weight_decay": 0.1},
        "lr_scheduler": {"_name": "warmup_cosine", "warmup_updates": 2, "max_update": 6},
        "optimization": {"max_update": updates, "lr": [1e-2], "update_freq": [2]},
        "checkpoint": {"save_dir": str(folder), "save_interval_updates": 1, "no_epoch_checkpoints": True},
    }  # fmt: skip


@pytest.mark.parametrize("target_update", ["after_update", "before_forward"])
def test_a_resumed_run_equals_one_that_never_stopped(sample: Any, tmp_path: Path, target_update: str, caplog: Any):
    """Weights, target encoder, both moments and the decay of the schedule, to the last bit."""
    for folder, stops in (("whole", (5,)), ("resumed", (2, 5))):
        for updates in stops:
            Trainer(resolve_config(recipe(sample, tmp_path / folder, updates, target_update))).train()
    whole, resumed = (torch.load(tmp_path / folder / "checkpoint_last.pt", weights_only=True) for folder in
                      ("whole", "resumed"))  # fmt: skip
    for key, value in whole["model"].items():
        assert torch.equal(value, resumed["model"][key]), key
    one, other = whole["last_optimizer_state"], resumed["last_optimizer_state"]
    assert one["param_groups"] == other["param_groups"]
    assert one["param_groups"][0]["weight_decay"] > 0.1 and one["param_groups"][1]["weight_decay"] == 0.0
    for index, state in one["state"].items():
        assert all(
            torch.equal(torch.as_tensor(state[key]), torch.as_tensor(other["state"][index][key])) for key in state
        )
    assert "weight_decay is" not in caplog.text  # the schedule's, no change of the recipe
    model = load_model(tmp_path / "whole" / "checkpoint_last.pt")
    assert torch.equal(model.target_encoder.registers, whole["model"]["target_encoder.registers"])
    assert not torch.equal(model.target_encoder.registers, model.encoder.registers)
