"""What fine-tuning of published probes asks of a run: patience in updates, a kept head, whole batches, a clip."""

import json
import logging

import numpy as np
import pytest
import torch

from ecg_signals import load_model
from ecg_signals.composition import resolve_config
from ecg_signals.config import ConfigError
from ecg_signals.data.batching import BatchIterator
from ecg_signals.trainer import Trainer


def test_patience_counts_updates_since_the_best_validation_also_over_a_resume(classification, tmp_path):
    classification["dataset"] |= {"validate_interval": 0, "validate_interval_updates": 2}
    classification["optimization"] |= {"max_update": 40, "lr": [0.0]}  # nothing ever improves on the first validation
    classification["checkpoint"] |= {"patience_updates": 6, "best_checkpoint_metric": "auroc",
                                     "maximize_best_checkpoint_metric": True}  # fmt: skip

    def run(folder, **optimization):
        sections = {**classification, "optimization": {**classification["optimization"], **optimization}}
        sections["checkpoint"] = {**classification["checkpoint"], "save_dir": str(tmp_path / folder)}
        trainer = Trainer(resolve_config(sections))
        trainer.train()
        return trainer.at.num_updates

    assert run("whole") == 2 + 6
    run("halves", max_update=4)
    assert run("halves") == 8
    rows = map(json.loads, (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines())
    assert [row["num_updates"] for row in rows if row["split"] == "valid"] == [2, 4, 6, 8]


@pytest.fixture
def linear(classification, tmp_path):
    """The checkpoint of a short probe, and its recipe."""
    encoder = {key: value for key, value in classification["model"].items() if key.startswith(("encoder_", "conv_"))}
    classification["model"] = {
        "_name": "classifier", "encoder": {"_name": "ecg_transformer", **encoder}, "num_labels": 3, "pool": "attentive",
        "pool_heads": 4, "freeze_encoder": True, "no_pretrained_weights": True,
    }  # fmt: skip
    classification["checkpoint"]["save_dir"] = str(tmp_path / "linear")
    trainer = Trainer(resolve_config(classification))
    trainer.train()
    return classification, trainer.save_dir / "checkpoint_last.pt"


def test_fine_tuning_may_start_from_the_head_of_a_probe_too(linear, tmp_path):
    recipe, path = linear
    recipe["model"] = {"_name": "classifier", "model_path": str(path), "keep_head": True}
    recipe["checkpoint"]["save_dir"] = str(tmp_path / "finetuned")
    recipe["optimization"]["max_update"] = 2
    trainer = Trainer(resolve_config(recipe))
    probe = load_model(path)
    assert trainer.model.labels == probe.labels and trainer.model.cfg.pool == "attentive"
    for name, value in trainer.model.state_dict().items():
        torch.testing.assert_close(value, probe.state_dict()[name], rtol=0, atol=0)
    assert all(parameter.requires_grad for parameter in trainer.model.parameters())
    trainer.train()
    recipe["optimization"]["max_update"] = 3
    Trainer(resolve_config(recipe)).train()  # a run that goes on reads its own head


def test_a_kept_head_must_be_one_that_the_file_has(linear):
    recipe, path = linear
    recipe["model"] = {"_name": "classifier", "model_path": str(path), "keep_head": True, "num_labels": 4}
    with pytest.raises(ConfigError, match=r"model\.num_labels=4, but .* has 3"):
        Trainer(resolve_config({**recipe, "checkpoint": {"no_save": True}}))


def test_labels_that_auroc_leaves_out_are_named_once(classification, tmp_path, caplog):
    labels = np.load(classification["task"]["label_file"])
    labels[8:, 2] = 0  # the rare one is in no record that is validated
    (tmp_path / "labels").mkdir()
    np.save(tmp_path / "labels" / "y.npy", labels)
    (tmp_path / "labels" / "label_def.csv").write_text("name\nodd\nthird\nrare\n")
    classification["task"]["label_file"] = str(tmp_path / "labels" / "y.npy")
    caplog.set_level(logging.WARNING)
    Trainer(resolve_config(classification)).train()
    (line,) = [record.getMessage() for record in caplog.records if "left out of auroc" in record.getMessage()]
    assert line.startswith("1 labels") and line.endswith("'rare'")


class Items:
    path, epoch, longest, sizes = "items", 1, None, np.full(10, 5)

    def __len__(self):
        return 10

    def collate(self, items):
        return items


@pytest.mark.parametrize("size, batches", [(4, 2), (5, 2), (16, 1)])
def test_a_last_batch_of_fewer_items_may_be_left_out_unless_it_is_the_only_one(size, batches):
    iterator = BatchIterator(Items(), batch_size=size, drop_last=True)
    seen = [iterator.plan(epoch)[number] for epoch in (1, 2) for number in range(iterator.num_batches(epoch))]
    assert len(seen) == 2 * batches and {len(batch) for batch in seen} == {min(size, 10)}


def test_values_are_clipped_behind_the_standardisation_and_the_contract_says_so(classification, tmp_path):
    for name, value in (("mean", 0.0), ("std", 0.5)):
        np.savetxt(tmp_path / f"{name}.txt", np.full(12, value))
    statistics = {f"{name}_path": str(tmp_path / f"{name}.txt") for name in ("mean", "std")}
    classification["task"] |= {"normalize": True, **statistics}
    classification["dataset"]["clip"] = 1.5
    trainer = Trainer(resolve_config(classification))
    source = trainer.iterator.dataset[0]["source"]
    assert source.abs().max() == 1.5 and (source.abs() == 1.5).float().mean() < 0.5
    assert trainer.model.signal.steps[-1] == {"name": "clip", "limit": 1.5}
