"""Which person is it? Trained on some people, validated on others by retrieval."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ecg_signals.composition import resolve_config
from ecg_signals.evaluation.evaluator import Evaluator
from ecg_signals.runtime.placement import Placement
from ecg_signals.trainer import Trainer


@pytest.fixture
def recipe(classification, tmp_path):
    """A small recipe with the sample's people: 8 to train on, 4 with a segment in the gallery and one as the probe."""
    folder = Path(classification["task"]["data"])
    root, *rows = (folder / "train.tsv").read_text().splitlines()
    valid = (folder / "valid.tsv").read_text().splitlines()[1:]
    for name, chosen in (("train", rows), ("valid_gallery", valid[::2]), ("valid_probe", valid[1::2])):
        people = sorted({row[:3] for row in chosen})
        lines = [f"{row}\t{people.index(row[:3])}\n" for row in chosen]
        (tmp_path / f"{name}.tsv").write_text(f"{root}\n{''.join(lines)}")
    return {
        **classification,
        "task": {"_name": "ecg_identification", "data": str(tmp_path)},
        "model": {**classification["model"], "_name": "arcface", "num_labels": 8},
        "criterion": {"_name": "arcface"},
    }


def test_the_loss_which_is_always_0_is_no_way_to_choose_a_checkpoint(recipe, caplog):
    Trainer(resolve_config(recipe))
    assert "best_checkpoint_metric=loss is the same whatever ecg_identification has learned" in caplog.text
    caplog.clear()
    chosen = {"best_checkpoint_metric": "accuracy", "maximize_best_checkpoint_metric": True}
    Trainer(resolve_config({**recipe, "checkpoint": {**recipe["checkpoint"], **chosen}}))
    assert "whatever" not in caplog.text


def test_the_printed_accuracy_is_that_of_the_extracted_answers(recipe, tmp_path):
    trainer = Trainer(resolve_config(recipe))
    trainer.train()
    stored = [json.loads(line) for line in (trainer.save_dir / "metrics.jsonl").read_text().splitlines()]
    during = [row for row in stored if row["split"] == "valid"][-1]
    sections = {key: value for key, value in recipe.items() if key != "checkpoint"}
    path = str(trainer.save_dir / "checkpoint_last.pt")
    sections["common_eval"] = {"path": path, "extract": ["output"], "results_path": str(tmp_path / "out")}
    after = Evaluator(sections, Placement()).validate()["valid"]
    probe, gallery = (torch.from_numpy(np.load(tmp_path / "out" / f"outputs_valid_{name}.npy")).double()
                      for name in ("probe", "gallery"))  # fmt: skip
    found = (probe @ gallery.T).argmax(dim=1)
    assert during["accuracy"] == after["accuracy"] == (found == torch.arange(4)).double().mean().item()
