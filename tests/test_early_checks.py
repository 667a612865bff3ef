"""What cannot work is said in one message before anything is computed."""

import copy
import subprocess

import pytest
import torch
from warm_commands import python

from ecg_signals import load_model
from ecg_signals.composition import resolve_config
from ecg_signals.config import ConfigError
from ecg_signals.data.pack import pack_manifests
from ecg_signals.evaluation.evaluator import Evaluator
from ecg_signals.files import check_writable
from ecg_signals.inference.predict import Predictor
from ecg_signals.runtime.placement import Placement
from ecg_signals.trainer import Trainer


def trainer(recipe, **changes):
    recipe = copy.deepcopy(recipe)
    for name, value in changes.items():
        section, _, key = name.partition("__")
        recipe.setdefault(section, {})[key] = value
    return Trainer(resolve_config(recipe))


def test_a_misspelt_metric_is_named_with_its_neighbour_before_the_first_epoch(classification):
    with pytest.raises(ConfigError, match=r"best_checkpoint_metric=auroq .*; did you mean 'auroc'\?"):
        trainer(classification, checkpoint__best_checkpoint_metric="auroq")
    with pytest.raises(ConfigError, match="report_auc=true prints auroc"):
        trainer(classification, checkpoint__best_checkpoint_metric="auroc", criterion__report_auc=False)
    assert trainer(classification, checkpoint__best_checkpoint_metric="auroc").at.num_updates == 0


def test_looking_at_a_batch_of_validation_leaves_training_as_it_was(classification, tmp_path):
    def weights(metric):
        folder = {"checkpoint__save_dir": str(tmp_path / metric), "checkpoint__best_checkpoint_metric": metric}
        made = trainer(classification, optimization__max_update=2, **folder)
        made.train()
        return torch.cat([value.flatten() for value in made.model.state_dict().values()])

    assert torch.equal(weights("loss"), weights("auroc"))


def test_names_to_print_that_do_not_exist_are_named_once(pretraining, classification, caplog, tmp_path):
    keys = ["prob_perplexity", "code_perplexty"]
    trainer(pretraining, criterion__log_keys=keys, optimization__max_update=2).train()
    assert caplog.text.count("criterion.log_keys: unknown name 'code_perplexty', left out; did you mean") == 1
    groups = {"criterion__per_log_keys": ["question"], "checkpoint__save_dir": str(tmp_path / "other")}
    trainer(classification, optimization__max_update=1, **groups).train()
    assert "criterion.per_log_keys: unknown name 'question', left out" in caplog.text


def test_folders_that_take_no_file_are_named_at_once(classification, tmp_path, sample):
    (tmp_path / "file").touch()
    inside = tmp_path / "file" / "below"
    with pytest.raises(ConfigError, match=r"cannot write .*below.* is a file, not a folder"):
        check_writable(inside)
    with pytest.raises(ConfigError, match=r"set checkpoint.save_dir=FOLDER"):
        trainer(classification, checkpoint__save_dir=str(inside))
    with pytest.raises(ConfigError, match="Choose another DEST"):
        pack_manifests(sample.single, inside)
    sections = {**classification, "common_eval": {"path": "missing.pt", "results_path": str(inside)}}
    with pytest.raises(ConfigError, match=r"common_eval.results_path to a folder that can be written"):
        Evaluator(sections, Placement())


@pytest.mark.parametrize("command", ["train", "validate"])
def test_a_run_folder_that_cannot_be_made_is_one_message(tmp_path, command):
    (tmp_path / "file").touch()
    words = [python(), "-m", f"ecg_signals.cli.{command}", "--config-name", "finetune/diagnosis"]
    done = subprocess.run([*words, f"hydra.run.dir={tmp_path}/file/run"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1 and "hydra.run.dir=FOLDER" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
@pytest.mark.parametrize("make", [load_model, Predictor])
def test_a_device_that_is_not_there_is_named_before_the_file_is_read(make):
    with pytest.raises(ConfigError, match="device=cuda:1 was asked for, but torch sees no GPU here"):
        make("missing.pt", device="cuda:1")
    with pytest.raises(ConfigError, match="device=gpu is none that torch knows"):
        make("missing.pt", device="gpu")


def test_an_empty_valid_subset_is_an_error_of_validation(classification):
    made = trainer(classification, optimization__max_update=1)
    made.train()
    path = made.save_dir / "checkpoint_last.pt"
    dataset = {**classification["dataset"], "valid_subset": ""}
    with pytest.raises(ConfigError, match=r"dataset.valid_subset is empty"):
        Evaluator({**classification, "dataset": dataset, "common_eval": {"path": str(path)}}, Placement())
