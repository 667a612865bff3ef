"""Pretraining is a function of its recipe: not of where it stopped, of loading processes, nor of ranks."""

import copy
import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ecg_signals.composition import resolve_config
from ecg_signals.runtime.launch import joined
from ecg_signals.runtime.placement import Placement, free_port
from ecg_signals.trainer import Trainer

Recipe = dict[str, dict[str, Any]]
UPDATES, PLANNED = 7, 10  # updates of a run, and those that its schedules are for
JEPA = {
    "_name": "jepa", "dim": 16, "depth": 1, "num_heads": 2, "pred_dim": 8, "pred_depth": 1, "pred_num_heads": 2,
    "encoder_momentum": 0.5, "final_encoder_momentum": 0.9, "final_weight_decay": 0.5, "min_block_size": 2,
    "max_update": PLANNED,
}  # fmt: skip
AUTOENCODER = {
    "_name": "st_mem", "seq_len": 300, "patch_size": 25, "embed_dim": 16, "depth": 1, "num_heads": 2, "head_dim": 8,
    "decoder_embed_dim": 8, "decoder_depth": 1, "decoder_num_heads": 1,
}  # fmt: skip
AUGMENTED = {"sample_rate": 250, "perturbation_mode": ["rand_augment"], "augment_prob": 1.0}


def recipe(folder: Path, task: dict[str, Any], dataset: dict[str, Any], model: dict[str, Any], loss: str) -> Recipe:
    return {
        "common": {"log_interval": 1, "log_format": "none", "cpu": True},
        "task": {"_name": "ecg_pretraining", **task},
        "dataset": {"batch_size": 3, "num_workers": 0, "disable_validation": True, **dataset},
        "model": model,
        "criterion": {"_name": loss},
        "optimizer": {"_name": "adamw", "weight_decay": 0.1},
        "lr_scheduler": {"_name": "warmup_cosine", "warmup_updates": 2, "max_update": PLANNED},
        "optimization": {"max_update": UPDATES, "lr": [1e-2], "update_freq": [2]},
        "checkpoint": {"save_dir": str(folder / "checkpoints"), "no_epoch_checkpoints": True},
    }


def dump(path: Path, records: int, samples: int, rate: int) -> Path:
    """Noise with a gap in every third record, and a lead without any value in the second."""
    data = np.random.default_rng(samples).standard_normal((records, samples, 12)).astype(np.float16)
    data[::3, 40:60, 2] = np.nan
    data[1, :, 5] = np.nan
    np.save(path, data)
    Path(f"{path}.json").write_text(json.dumps({"sample_rate": rate}))
    return path


@pytest.fixture
def make(tmp_path: Path, sample: Any) -> Callable[[str], Recipe]:
    """A tiny recipe by its name; epochs of 5 batches, which two batches per update do not divide."""

    def made(name: str) -> Recipe:
        if name in ("st_mem", "mtae", "mlae"):
            dataset = {"_name": "ecg_windows", "crop_samples": 300, "high_pass": 1.0}
            model = AUTOENCODER | {"_name": name, **({"patch_size": 1} if name == "mlae" else {})}
            return recipe(tmp_path, {"data": str(sample.single), **AUGMENTED}, dataset, model, "mae")
        one, other = dump(tmp_path / "one.npy", 9, 400, 500), dump(tmp_path / "other.npy", 5, 200, 250)
        drawn = {"_name": "jepa_dump", "window_samples": 250, "batches_per_epoch": 5}
        if name == "one dump":
            return recipe(tmp_path, {"data": str(one)}, drawn, JEPA, "jepa")
        drawn |= {"dumps": {"one": str(one), "other": str(other)}, "mixture": {"one": 1.0, "other": 3.0}}
        model = JEPA | {"target_update": "before_forward"}
        return recipe(tmp_path, {}, drawn | {"empty_leads": "redraw", "batches_per_epoch": 6}, model, "jepa")

    return made


def changed(recipe: Recipe, folder: str, **changes: Any) -> Recipe:
    """With section__option=value, in a folder of its own."""
    recipe = copy.deepcopy(recipe)
    recipe["checkpoint"]["save_dir"] = str(Path(recipe["checkpoint"]["save_dir"]).with_name(folder))
    for key, value in changes.items():
        section, _, option = key.partition("__")
        recipe[section][option] = value
    return recipe


def outcome(recipe: Recipe) -> dict[str, Any]:
    """What a run left, without its clock: weights, optimizer, position, the model's own state, every update's row."""
    folder = Path(recipe["checkpoint"]["save_dir"])
    stored = torch.load(folder / "checkpoint_last.pt", weights_only=True)
    ours = stored["extra_state"]["ecg_signals"]
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return {
        "weights": stored["model"],
        "optimizer": stored["last_optimizer_state"],
        "state": {key: ours.get(key) for key in ("position", "model")},
        "rows": [
            {key: row[key] for key in ("num_updates", "loss", "lr", "gnorm")}
            for row in rows
            if row["split"] == "train_inner"
        ],
    }


def train(recipe: Recipe, placement: Placement | None = None) -> dict[str, Any]:
    Trainer(resolve_config(recipe), placement).train()
    return outcome(recipe)


def assert_equal(found: Any, wanted: Any, tolerance: float = 0.0) -> None:
    """Texts as well, which an optimizer's groups hold."""
    numbers, texts = zip(*map(parted, (found, wanted)))
    torch.testing.assert_close(*numbers, rtol=tolerance, atol=tolerance)
    assert texts[0] == texts[1]


def parted(value: Any, where: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
    """All numbers and tensors in nested containers by their places, and all else."""
    if isinstance(value, (dict, list, tuple)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        parts = [parted(item, f"{where}.{key}") for key, item in items]
        return {k: v for one, _ in parts for k, v in one.items()}, {k: v for _, one in parts for k, v in one.items()}
    is_number = isinstance(value, (torch.Tensor, float, int)) and not isinstance(value, bool)
    return ({where: value}, {}) if is_number else ({}, {where: value})


@pytest.mark.parametrize("name", ["one dump", "mixture", "st_mem", "mlae"])
def test_a_run_stopped_at_every_update_equals_one_that_never_stopped(name: str, make: Callable[[str], Recipe]):
    """To the last bit, with another number of loading processes after every stop."""
    whole = train(make(name))
    for stop in range(1, UPDATES + 1):
        workers = {"dataset__num_workers": (0, 2, 1)[stop % 3]}
        again = train(changed(make(name), "stopped", optimization__max_update=stop, **workers))
    assert_equal(again, whole)
    assert not multiprocessing.active_children()  # loading processes end with the run
    assert all(torch.isfinite(value).all() for value in whole["weights"].values())


def run_rank(recipes: list[Recipe], placement: Placement) -> None:
    with joined(resolve_config(recipes[0]), placement):
        for one in recipes:
            Trainer(resolve_config(one), placement).train()


def test_two_ranks_equal_one_with_twice_the_update_freq(make: Callable[[str], Recipe]):
    """Also where they stop and one goes on, and where a rank has no batch at an epoch's end (one dump)."""
    names = ["one dump", "mixture", "st_mem"]
    recipes = [
        changed(make(name), f"two, {name}", optimization__update_freq=[2 - (name == "st_mem")]) for name in names
    ]
    stopped = changed(recipes[1], "two, stopped", optimization__max_update=3)
    where = f"tcp://127.0.0.1:{free_port()}"
    fork = multiprocessing.get_context("fork")
    ranks = [
        fork.Process(target=run_rank, args=([*recipes, stopped], Placement(rank, 2, rank, where))) for rank in (0, 1)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
        assert process.exitcode == 0
    for two in [*recipes, stopped]:
        once = changed(two, "one", optimization__update_freq=[2 * two["optimization"]["update_freq"][0]])
        one = train(changed(once, f"alone, {Path(two['checkpoint']['save_dir']).name}"))
        assert_equal(outcome(two), one, 1e-5)
    on = {"optimization__max_update": UPDATES, "optimization__update_freq": [4]}
    assert_equal(train(changed(stopped, "two, stopped", **on)), outcome(changed(once, "alone, two, mixture")), 1e-5)
