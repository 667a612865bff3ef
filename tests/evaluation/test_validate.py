import json

import numpy as np
import pytest
import torch

from ecg_signals.composition import resolve_config
from ecg_signals.config import ConfigError, UsageError
from ecg_signals.evaluation.evaluator import Evaluator
from ecg_signals.evaluation.store import MemmapReader
from ecg_signals.runtime.placement import Placement
from ecg_signals.trainer import Trainer


@pytest.fixture
def trained(classification):
    """The recipe and the checkpoint of a short run."""
    trainer = Trainer(resolve_config(classification))
    trainer.train()
    return classification, trainer.save_dir / "checkpoint_last.pt"


def evaluator(recipe, path, **common_eval):
    sections = {**recipe, "common_eval": {"path": str(path), **common_eval}}
    sections.pop("checkpoint", None)
    return Evaluator(sections, Placement())


def test_validation_of_a_checkpoint_prints_what_training_printed(trained):
    recipe, path = trained
    lines = (path.parent / "metrics.jsonl").read_text().splitlines()
    during = [row for row in map(json.loads, lines) if row["split"] == "valid"][-1]
    after = evaluator(recipe, path).validate()["valid"]
    for key in ("loss", "accuracy", "auroc", "auprc", "auroc_micro"):
        assert after[key] == pytest.approx(during[key], rel=1e-5), key


def test_all_items_of_a_split_are_counted_whatever_the_batches(trained):
    recipe, path = trained
    recipe = {**recipe, "dataset": {**recipe["dataset"], "batch_size": 3}}
    assert evaluator(recipe, path).validate()["valid"]["nsignals"] == 8


def test_the_recipe_need_not_repeat_what_the_checkpoint_knows(trained):
    recipe, path = trained
    sections = {
        "task": {"_name": "ecg_classification", "data": recipe["task"]["data"]},
        "dataset": {"batch_size": 3},
        "model": None,
        "criterion": {"_name": "binary_cross_entropy_with_logits", "weights_file": "???"},
    }
    short = evaluator(sections, path).validate()["valid"]
    assert short["loss"] == pytest.approx(evaluator(recipe, path).validate()["valid"]["loss"], rel=1e-5)


def test_outputs_embeddings_and_attention_are_written_in_manifest_order(trained, tmp_path):
    recipe, path = trained
    kinds = ["output", "encoder_out", "saliency"]
    evaluator(recipe, path, extract=kinds, results_path=str(tmp_path)).validate()
    outputs, targets = np.load(tmp_path / "outputs_valid.npy"), np.load(tmp_path / "targets_valid.npy")
    features, saliency = np.load(tmp_path / "encoder_out_valid.npy"), np.load(tmp_path / "saliency_valid.npy")
    assert outputs.shape == targets.shape == (8, 3)
    assert features.shape == (8, 156, 32)
    assert saliency.shape == (8, 1, 156, 156)
    np.testing.assert_allclose(saliency.sum(axis=-1), 1.0, rtol=1e-5)
    labels = np.load(recipe["task"]["label_file"])
    assert targets.tolist() == np.repeat(labels[8:], 2, axis=0).tolist()


def test_inference_needs_no_labels_and_equals_validation(trained, tmp_path):
    recipe, path = trained
    evaluator(recipe, path, extract=["output"], results_path=str(tmp_path / "new")).validate()
    validated = np.load(tmp_path / "new" / "outputs_valid.npy").copy()
    without = {**recipe, "task": {**recipe["task"], "label_file": None}}
    evaluator(without, path, results_path=str(tmp_path), raw_memmap=True).infer()
    assert MemmapReader.from_header(tmp_path / "outputs_valid.npy")[:].tolist() == validated.tolist()


def test_extraction_without_a_folder_says_what_to_set(trained, tmp_path):
    recipe, path = trained
    with pytest.raises(ConfigError, match="results_path=DIR"):
        evaluator(recipe, path, extract=["output"]).validate()
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"file is a file, not a folder.* Set common_eval.results_path"):
        evaluator(recipe, path, extract=["output"], results_path=str(tmp_path / "file")).validate()
    with pytest.raises(ConfigError, match="any of output, encoder_out, saliency"):
        evaluator(recipe, path, extract=["embedding"], results_path=str(tmp_path)).validate()


def test_extraction_reproduces_the_reference(golden, tmp_path, monkeypatch):
    reference = golden / "fairseq_signals_trained"
    monkeypatch.chdir(reference)
    kinds = ["output", "encoder_out", "saliency"]
    sections = {
        "common_eval": {
            "path": str(reference / "finetune" / "checkpoint_last.pt"),
            "extract": kinds,
            "results_path": str(tmp_path),
        },
        "task": {
            "_name": "ecg_classification",
            "data": str(reference / "manifest" / "clf"),
            "label_file": labels(golden),
        },
        "dataset": {"batch_size": 2, "valid_subset": "synth", "num_workers": 0},
    }
    Evaluator(sections, Placement()).validate()
    for name in ("outputs", "encoder_out", "saliency"):
        expected = MemmapReader.from_header(reference / "extract" / f"{name}_synth.npy")[:]
        np.testing.assert_allclose(np.load(tmp_path / f"{name}_synth.npy"), expected, atol=1e-5)


def labels(golden):
    return str(golden.parent / "data" / "code15" / "labels" / "y.npy")


def test_the_checkpoint_must_be_named(classification):
    with pytest.raises(ConfigError, match=r"common_eval.path=CHECKPOINT"):
        Evaluator(classification, Placement())
    with pytest.raises(UsageError, match=r"did you mean 'path'"):
        Evaluator({**classification, "common_eval": {"pth": "checkpoint.pt"}}, Placement())


def test_two_splits_of_one_run_do_not_share_numbers(trained, tmp_path):
    recipe, path = trained
    both = {**recipe, "dataset": {**recipe["dataset"], "valid_subset": "valid,train"}}
    found = evaluator(both, path, extract=["output"], results_path=str(tmp_path)).validate()
    assert set(found) == {"valid", "train"}
    assert torch.from_numpy(np.load(tmp_path / "outputs_train.npy")).shape == (16, 3)


@pytest.mark.parametrize("section", ["task", "dataset", "criterion", "model", "common"])
def test_a_misspelt_key_is_not_passed_over(trained, section):
    recipe, path = trained
    misspelt = {**recipe, section: {**recipe[section], "batch_sise": 3}}
    with pytest.raises(UsageError, match="batch_sise"):
        evaluator(misspelt, path)


def test_keys_of_a_stored_recipe_that_no_longer_exist_are_dropped(trained):
    recipe, path = trained
    state = torch.load(path, weights_only=True)
    for options in (state["cfg"], state["extra_state"]["ecg_signals"]["options"]):
        options["task"]["model_name"] = "old"
    torch.save(state, path)
    assert evaluator(recipe, path).validate()["valid"]["loss"] > 0


def test_overrides_that_the_model_does_not_have_are_passed_over_with_a_word(trained, caplog):
    recipe, path = trained
    found = evaluator(
        recipe, path, model_overrides="{'model_path': None, 'no_pretrained_weights': True, 'leadwise': True}"
    )
    assert found.model.cfg.no_pretrained_weights
    assert "leadwise" in caplog.text
