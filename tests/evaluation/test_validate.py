import json
from pathlib import Path

import numpy as np
import pytest
import scipy.io
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


def test_the_split_that_trains_is_validated_as_any_other_and_training_stays_the_same(classification, tmp_path):
    masked = {"perturbation_mode": ["random_leads_masking"], "p": [1.0], "mask_leads_prob": 0.9}
    recipe = {**classification, "task": {**classification["task"], **masked}}

    def rows(name, subsets):
        sections = {**recipe, "dataset": {**recipe["dataset"], "valid_subset": subsets}}
        sections["checkpoint"] = {"save_dir": str(tmp_path / name)}
        Trainer(resolve_config(sections)).train()
        return list(map(json.loads, (tmp_path / name / "metrics.jsonl").read_text().splitlines()))

    alone, both = rows("alone", "valid"), rows("both", "valid,train")
    losses = [[row["loss"] for row in found if row["split"] == "train_inner"] for found in (alone, both)]
    assert losses[0] == losses[1]
    during = [row for row in both if row["split"] == "train" and "best_loss" in row][-1]
    sections = {**recipe, "dataset": {**recipe["dataset"], "valid_subset": "train"}}
    after = evaluator(sections, tmp_path / "both" / "checkpoint_last.pt").validate()["train"]
    assert during["loss"] == pytest.approx(after["loss"], rel=1e-5)
    assert during["auroc"] == pytest.approx(after["auroc"])


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


@pytest.mark.parametrize("form", ["arch", "one key"])
def test_a_recipe_may_name_its_model_in_each_of_fairseq_signals_ways(trained, form):
    recipe, path = trained
    options = dict(recipe["model"])
    name = options.pop("_name")
    renamed = {**recipe, "model": {"arch": name, **options} if form == "arch" else {name: options}}
    assert evaluator(renamed, path).validate() == evaluator(recipe, path).validate()


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


@pytest.fixture
def uneven(trained, tmp_path):
    """The recipe, with segments of three lengths to validate on, and the checkpoint."""
    recipe, path = trained
    root, *rows = (Path(recipe["task"]["data"]) / "valid.tsv").read_text().splitlines()
    lengths = [1700, 2500, 2200, 1700, 1700, 2500, 2200, 2200]
    for row, length in zip(rows, lengths):
        stored = scipy.io.loadmat(Path(root) / row.split("\t")[0])
        content = {key: value for key, value in stored.items() if not key.startswith("_")}
        scipy.io.savemat(tmp_path / row.split("\t")[0], {**content, "feats": stored["feats"][:, :length]})
    listed = [f"{row.split()[0]}\t{length}\n" for row, length in zip(rows, lengths)]
    (tmp_path / "valid.tsv").write_text(f"{tmp_path}\n{''.join(listed)}")
    return {**recipe, "task": {**recipe["task"], "data": str(tmp_path), "enable_padding": True}}, path


@pytest.mark.parametrize("action", ["validate", "infer"])
def test_extracted_rows_do_not_depend_on_how_long_the_other_items_of_a_batch_are(uneven, tmp_path, action):
    recipe, path = uneven
    names = ("outputs", "encoder_out", "padding_mask", "saliency")
    found = {}
    for size in (1, 3):
        recipe = {**recipe, "dataset": {**recipe["dataset"], "batch_size": size}}
        folder = tmp_path / f"of{size}"
        kinds = ["output", "encoder_out", "saliency"]
        getattr(evaluator(recipe, path, extract=kinds, results_path=str(folder)), action)()
        found[size] = {name: np.load(folder / f"{name}_valid.npy") for name in names}
    assert found[1]["encoder_out"].shape == (8, 156, 32)
    assert found[1]["saliency"].shape == (8, 1, 156, 156)
    frames = (~found[1]["padding_mask"]).sum(axis=1)
    assert frames[1] == frames[5] == 156 and frames[0] == frames[3] < frames[2] < 156
    assert (found[1]["encoder_out"][found[1]["padding_mask"]] == 0).all()
    for name in ("outputs", "padding_mask"):
        np.testing.assert_allclose(found[3][name], found[1][name], atol=1e-5)
    real = ~found[1]["padding_mask"]
    np.testing.assert_allclose(found[3]["encoder_out"][real], found[1]["encoder_out"][real], atol=1e-5)


def test_arrays_grow_for_a_row_that_is_wider_than_the_manifest_lets_expect(uneven, tmp_path):
    recipe, path = uneven
    recipe = {**recipe, "dataset": {**recipe["dataset"], "batch_size": 1}}
    asked = {"extract": ["encoder_out", "saliency"], "raw_memmap": True}
    evaluator(recipe, path, **asked, results_path=str(tmp_path / "right")).infer()
    listed = tmp_path / "valid.tsv"
    listed.write_text(listed.read_text().replace("\t2500", "\t1900"))
    evaluator(recipe, path, **asked, results_path=str(tmp_path / "wrong")).infer()
    for name in ("encoder_out", "padding_mask", "saliency"):
        found, wanted = (MemmapReader.from_header(tmp_path / out / f"{name}_valid.npy") for out in ("wrong", "right"))
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found[:].astype(float), wanted[:].astype(float), atol=1e-5)


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
