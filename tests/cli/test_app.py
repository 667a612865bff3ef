import subprocess
import sys

import pytest
from warm_commands import python

from ecg_signals.cli.app import parse_arguments
from ecg_signals.cli.composing import schema
from ecg_signals.cli.overrides import hydra_override
from ecg_signals.cli.recipes import find_recipe, packaged_recipes
from ecg_signals.config import UsageError


def test_options_and_settings_may_come_in_any_order():
    found = parse_arguments(["a=1", "--config-name", "w2v", "b=2", "--config-dir=x", "-m"])
    assert (found.config_name, found.config_dir, found.flags, found.overrides) == ("w2v", "x", ["-m"], ["a=1", "b=2"])


@pytest.mark.parametrize("text", ["model.final_dim=16", "+model.final_dim=16", "++model.final_dim=16"])
def test_a_setting_means_the_same_with_and_without_plus(text, tmp_path):
    assert hydra_override(text, tmp_path) == "++model.final_dim=16"


def test_a_group_is_chosen_by_name(tmp_path):
    assert hydra_override("model=wav2vec2_cmsc", tmp_path) == "++model._name=wav2vec2_cmsc"
    assert hydra_override("model=null", tmp_path) == "++model=null"
    assert hydra_override("~model", tmp_path) == "~model"
    assert hydra_override("hydra.run.dir=.", tmp_path) == "hydra.run.dir=."


def test_a_yaml_of_the_users_own_group_folder_is_chosen_as_hydra_does(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "tiny.yaml").touch()
    assert hydra_override("model=tiny", tmp_path) == "model=tiny"


def test_a_misspelt_recipe_gets_its_nearest_neighbour():
    with pytest.raises(UsageError, match="did you mean 'w2v_cmsc_rlm'"):
        find_recipe("w2v_cmcs_rlm", None)


def test_a_users_folder_wins_over_the_packaged_recipes(tmp_path):
    (tmp_path / "w2v.yaml").touch()
    assert find_recipe("w2v", str(tmp_path)) == (tmp_path, "w2v")
    assert find_recipe("w2v_rlm", str(tmp_path))[0] == packaged_recipes()


def test_the_schema_holds_no_key_that_follows_another():
    assert "max_tokens_valid" not in schema()["dataset"]
    assert schema()["optimization"]["lr"] == [0.25]


def run(module, *arguments, cwd):
    return subprocess.run([python(), "-m", module, *arguments], cwd=cwd, capture_output=True, text=True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config-name", "w2v_cmsc_rml"],
        ["--confg-name", "w2v"],
        ["task.data"],
        ["common.sed=3", "--config-name", "w2v"],
        ["model=wav2vec2_cmcs", "--config-name", "w2v"],
        ["model.final_dims=3", "--config-name", "w2v"],
        ["~model.final_dims", "--config-name", "w2v"],
        ["optimization.max_update=1,2", "--config-name", "w2v"],
    ],
)
def test_wrong_arguments_end_with_status_2_and_one_message(arguments, tmp_path):
    result = run("ecg_signals.cli.train", *arguments, "hydra.run.dir=.", cwd=tmp_path)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert result.stderr.count("error:") == 1


def test_help_imports_neither_torch_nor_transformers_nor_wfdb(tmp_path):
    for command in ("train", "validate", "inference"):
        code = (
            f"import sys; sys.argv = ['x', '--help']; from ecg_signals.cli.{command} import main; main(); "
            "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'wfdb', 'pandas')))"
        )
        assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True).returncode == 0
