import json

import numpy as np
import pytest
import torch

from ecg_signals.composition import resolve_config
from ecg_signals.config import ConfigError
from ecg_signals.data.datasets.hubert_csv import HubertCsvConfig, HubertCsvDataset
from ecg_signals.data.label_names import matching_columns
from ecg_signals.evaluation.evaluator import Evaluator
from ecg_signals.registry import build
from ecg_signals.runtime.placement import Placement
from ecg_signals.trainer import Trainer

NAMES = ["odd", "third", "rare"]


def test_columns_are_found_by_name_and_equal_lists_need_nothing():
    assert matching_columns(["a", "b"], ["a", "b"], "y") is None
    assert matching_columns(["a", "b"], ["b", "x", "a"], "y") == [2, 0]


def test_further_columns_and_another_order_are_said(caplog):
    matching_columns(["a", "b"], ["b", "x", "a"], "y.npy")
    assert "y.npy has 1 labels that the model does not know; they are left out: 'x'" in caplog.text
    assert "another order" in caplog.text


@pytest.mark.parametrize(("found", "said"), [(["a"], "lacks 'b'"), (["a", "c"], "lacks 'b', and has 'c'"),
                                             (["a", "b", "b"], "'b' more than once")])  # fmt: skip
def test_other_names_are_an_error_that_lists_the_difference(found, said):
    with pytest.raises(ConfigError, match=said):
        matching_columns(["a", "b"], found, "y.npy")


def relabelled(sample, folder, names):
    """The sample's label file with the columns `names`; a column that it does not have holds zeros."""
    folder.mkdir()
    table = np.load(sample.label_file)
    columns = [table[:, NAMES.index(name)] if name in NAMES else np.zeros(len(table)) for name in names]
    np.save(folder / "y.npy", np.stack(columns, axis=1))
    (folder / "label_def.csv").write_text("\n".join(["name", *names]) + "\n")
    return str(folder / "y.npy")


def train(recipe, **sections):
    trainer = Trainer(resolve_config({**recipe, **{key: {**recipe[key], **value} for key, value in sections.items()}}))
    trainer.train()
    return trainer


@pytest.fixture
def trained(classification):
    recipe = {**classification, "optimization": {"max_update": 2, "lr": [1e-3]}}
    return recipe, train(recipe).save_dir / "checkpoint_last.pt"


def validated(recipe, path, label_file, **criterion):
    sections = {**recipe, "task": {**recipe["task"], "label_file": label_file}, "criterion": None}
    if criterion:
        sections["criterion"] = {"_name": "binary_cross_entropy_with_logits", **criterion}
    sections = {**sections, "common_eval": {"path": str(path)}, "checkpoint": {}}
    return Evaluator(sections, Placement()).validate()["valid"]


def test_validation_matches_the_columns_by_name(trained, sample, tmp_path, caplog):
    recipe, path = trained
    wanted = validated(recipe, path, str(sample.label_file))
    other = relabelled(sample, tmp_path / "other", ["extra", "rare", "odd", "third"])
    assert validated(recipe, path, other) == pytest.approx(wanted, rel=1e-6)
    assert "another order" in caplog.text and "'extra'" in caplog.text
    weights = validated(recipe, path, other, pos_weight=[9.0, 3.0, 1.0, 2.0])  # in the order of the file
    assert weights == pytest.approx(wanted, rel=1e-6)


def test_validation_against_other_names_is_an_error(trained, sample, tmp_path):
    recipe, path = trained
    with pytest.raises(ConfigError, match="lacks 'odd', and has 'even'"):
        validated(recipe, path, relabelled(sample, tmp_path / "other", ["even", "third", "rare"]))


def test_a_resumed_run_keeps_its_labels_whatever_the_order_of_the_columns(classification, sample, tmp_path):
    def losses(trainer):
        rows = map(json.loads, (trainer.save_dir / "metrics.jsonl").read_text().splitlines())
        return [row["loss"] for row in rows if row["split"] == "train_inner"]

    whole = train(classification, optimization={"max_update": 4}, checkpoint={"save_dir": str(tmp_path / "whole")})
    train(classification, optimization={"max_update": 2})
    other = relabelled(sample, tmp_path / "other", ["rare", "third", "odd"])
    changed = {"task": {"label_file": other}, "criterion": {"pos_weight": [3.0, 2.0, 1.0]}}
    resumed = train(classification, optimization={"max_update": 4}, **changed)
    assert losses(resumed) == losses(whole)
    assert resumed.model.labels == NAMES
    with pytest.raises(ConfigError, match="lacks 'rare'"):
        train(classification, task={"label_file": relabelled(sample, tmp_path / "more", ["a", "third", "odd"])})


def test_a_classifier_trained_further_keeps_the_meaning_of_its_logits(trained, sample, tmp_path):
    recipe, path = trained
    other = relabelled(sample, tmp_path / "other", ["rare", "third", "odd"])
    further = {"finetune_from_model": str(path), "save_dir": str(tmp_path / "further")}
    trainer = train(recipe, task={"label_file": other}, checkpoint=further)
    assert trainer.model.labels == NAMES
    state = torch.load(trainer.save_dir / "checkpoint_last.pt", weights_only=True)
    assert state["extra_state"]["ecg_signals"]["labels"] == NAMES


def test_columns_without_names_are_taken_in_order_with_a_word(trained, sample, tmp_path, caplog):
    recipe, path = trained
    np.save(tmp_path / "y.npy", np.load(sample.label_file))
    found = validated(recipe, path, str(tmp_path / "y.npy"))
    assert found == pytest.approx(validated(recipe, path, str(sample.label_file)))
    assert "does not name its 3 columns" in caplog.text


def test_training_and_validation_tables_may_list_their_columns_in_another_order(tmp_path):
    values = np.array([[1, 0], [0, 0], [1, 1]])
    for split, order in (("train", [0, 1]), ("valid", [1, 0])):
        rows = [f"r{row},x,y,{values[row, order[0]]},{values[row, order[1]]}" for row in range(3)]
        names = ["afib", "norm"]
        head = f"filename,age,sex,{names[order[0]]},{names[order[1]]}"
        (tmp_path / f"{split}.csv").write_text("\n".join([head, *rows]) + "\n")
    config = HubertCsvConfig()
    train, valid = (HubertCsvDataset(config, tmp_path / f"{split}.csv") for split in ("train", "valid"))
    columns = matching_columns(train.labels, valid.labels, "valid.csv")
    valid.select_labels(columns)
    assert valid.labels == train.labels
    assert valid.label_table.tolist() == train.label_table.tolist()


def test_the_challenges_weights_follow_the_labels_by_name(tmp_path, caplog):
    classes = ["1", "426783006", "2|3"]
    table = "\n".join(f"{name},{a},{b},{c}" for name, (a, b, c) in zip(classes, np.arange(9).reshape(3, 3)))
    path = tmp_path / "weights.csv"
    path.write_text(f",{','.join(classes)}\n{table}\n")

    def weights(labels):
        options = {"report_cinc_score": True, "weights_file": str(path)}
        criterion = build("criterion", "binary_cross_entropy_with_logits", **options)
        criterion.set_labels(labels)
        return criterion

    found = weights(["3", "1", "426783006"])
    assert found.score_weights.tolist() == [[8, 6, 7], [2, 0, 1], [5, 3, 4]]
    assert found.sinus == 2
    assert weights(["AF", "SR", "PAC"]).sinus == 1 and "taken to be the labels in order" in caplog.text
    with pytest.raises(ConfigError, match=r"no class of its own for 'PAC'"):
        weights(["1", "426783006", "PAC"])
