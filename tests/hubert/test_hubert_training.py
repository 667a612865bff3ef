"""HuBERT-ECG's recipes, shrunk, train; a run that was stopped ends as the undisturbed one."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from ecg_signals.clustering.rows import RowWriter
from ecg_signals.composition import resolve_config
from ecg_signals.trainer import Trainer

CONFIGS = Path(__file__).parents[2] / "configs" / "hubert"
LABELS = ["A", "B", "C"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve ECGs, tables to train and validate on, and targets of two k-means models."""
    folder = tmp_path_factory.mktemp("hubert")
    draws = np.random.default_rng(0)
    names = [f"r{number:02d}.npy" for number in range(12)]
    for name in names:
        np.save(folder / name, draws.uniform(-1, 1, (12, 2600 if name != "r03.npy" else 1700)).astype(np.float32))
    for split, chosen in (("train", names[:9]), ("valid", names[9:])):
        rows = [
            f"{name},1,0,{','.join(map(str, draws.integers(0, 2, 3)))},{number % 3}"
            for number, name in enumerate(chosen)
        ]
        (folder / f"{split}.csv").write_text("\n".join([f"filename,age,sex,{','.join(LABELS)},kind", *rows]) + "\n")
    packer = RowWriter(folder / "targets", names, {"what": "targets", "vocab_sizes": [7, 5]})
    packer.write(slice(0, 12), draws.integers(0, 5, (12, 2, 93)).astype(np.int16))
    packer.finish()
    return folder


def read(name: str) -> dict[str, Any]:
    """A packaged recipe with what it builds on, as plain sections."""
    own = OmegaConf.load(CONFIGS / f"{name}.yaml")
    for base in own.pop("defaults", []):
        if base != "_self_":
            own = OmegaConf.merge(OmegaConf.create(read(base)), own)
    return OmegaConf.to_container(own)


def recipe(name: str, folder: Path, out: Path, tiny: dict[str, Any], **changes: Any) -> dict[str, Any]:
    content = read(name)
    content["task"]["data"] = str(folder)
    content["dataset"] |= {"num_workers": 0, "batch_size": 4, "validate_interval_updates": 2}
    content["optimization"]["max_update"] = 6
    content["lr_scheduler"]["max_update"] = 8
    content["optimization"]["lr"] = [1e-3]
    content["checkpoint"] |= {"save_dir": str(out), "save_interval_updates": 2}
    content["common"] |= {"log_interval": 1, "log_format": "none"}
    content["model"] |= tiny
    for key, value in changes.items():
        section, _, key = key.partition("__")
        content[section][key] = value
    return content


def train(content: dict[str, Any]) -> Trainer:
    trainer = Trainer(resolve_config(content))
    trainer.train()
    return trainer


def losses(trainer: Trainer) -> dict[int, float]:
    rows = map(json.loads, (trainer.save_dir / "metrics.jsonl").read_text().splitlines())
    return {row["num_updates"]: row["loss"] for row in rows if row["split"] == "train_inner"}


def assert_resumes(whole: dict[str, Any], parts: dict[str, Any], stop: int) -> Trainer:
    """A run, and the same stopped after `stop` updates and continued: equal losses, weights and regularisation."""
    first = train(whole)
    train({**parts, "optimization": {**parts["optimization"], "max_update": stop}})
    second = train(parts)
    assert losses(first) == losses(second) and len(losses(first)) == 6
    for (name, value), other in zip(first.model.state_dict().items(), second.model.state_dict().values(), strict=True):
        assert torch.equal(value, other), name
    assert first.model.training_state(first.optimizer) == second.model.training_state(second.optimizer)
    return first


@pytest.mark.parametrize("stop", [2, 3])
def test_a_stopped_pretraining_ends_as_the_undisturbed_one(folder: Path, tmp_path: Path, tiny: Any, stop: int) -> None:
    every = 2 if stop % 2 == 0 else 1  # the last update is validated, which regularisation follows
    changes = {"dataset__targets": str(folder / "targets"), "model__dynamic_reg_interval": 1, "model__layerdrop": 0.3,
               "dataset__validate_interval_updates": every, "checkpoint__save_interval_updates": every}  # fmt: skip
    whole, parts = (recipe("pretrain_base", folder, tmp_path / name, tiny, **changes) for name in ("whole", "parts"))
    trainer = assert_resumes(whole, parts, stop)
    printed = (trainer.save_dir / "metrics.jsonl").read_text()
    assert '"masked_loss"' in printed and '"accuracy"' in printed
    assert trainer.model.signal.steps[-1] == {"name": "hubert_decimate", "factor": 5, "flat": False}


def test_a_stopped_fine_tuning_ends_as_the_undisturbed_one(
    folder: Path, tmp_path: Path, tiny: Any, tiny_encoder: Any
) -> None:
    pretrained = train(recipe("pretrain_base", folder, tmp_path / "pretrained", tiny,
                              dataset__targets=str(folder / "targets"), optimization__max_update=2))  # fmt: skip
    changes = {
        "model__model_path": str(pretrained.save_dir / "checkpoint_last.pt"),
        "model__num_labels": 3,
        "model__freezing_steps": 3,
        "model__layer_wise_lr": True,
        "dataset__label_columns": LABELS,
        "dataset__decimation": "per_lead",
    }
    whole, parts = (recipe("finetune", folder, tmp_path / name, {}, **changes) for name in ("whole", "parts"))
    trainer = assert_resumes(whole, parts, 4)
    assert trainer.model.labels == LABELS and trainer.model.cfg.hidden_size == tiny_encoder["hidden_size"]
    assert trainer.criterion.pos_weight is not None
    assert math.isfinite(trainer.manager.best)
    rebuilt = load_again(trainer)
    source = torch.rand(2, 12, 500) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(rebuilt(source)["logits"], trainer.model.eval()(source)["logits"])
    assert rebuilt.labels == LABELS and rebuilt.signal == trainer.model.signal


def load_again(trainer: Trainer) -> Any:
    """The checkpoint without the pretrained file it started from."""
    from ecg_signals.checkpoint.load import load_model

    Path(trainer.config.model.model_path).unlink()
    return load_model(trainer.save_dir / "checkpoint_last.pt")


@pytest.mark.parametrize(
    ("task", "criterion", "column", "outputs", "best"),
    [("multi_class", "multi_class", "kind", 3, "auroc"), ("regression", "mse", "age", 1, "loss")],
)
def test_classes_and_real_numbers_train_from_scratch(
    folder: Path, tmp_path: Path, tiny_encoder: Any, task: str, criterion: str, column: str, outputs: int, best: str
) -> None:
    content = recipe("scratch", folder, tmp_path / "run", tiny_encoder, model__num_labels=outputs,
                     dataset__task_type=task, dataset__label_columns=[column], checkpoint__best_checkpoint_metric=best,
                     checkpoint__maximize_best_checkpoint_metric=best == "auroc")  # fmt: skip
    content["criterion"] = {"_name": criterion}
    trainer = train(content)
    assert all(math.isfinite(loss) for loss in losses(trainer).values()) and math.isfinite(trainer.manager.best)
    assert all(
        parameter.requires_grad for name, parameter in trainer.model.named_parameters() if "masked_spec" not in name
    )
