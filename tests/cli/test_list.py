"""ecg-list: what is registered, one thing's options, misspelt names."""

import os
import subprocess
import sys

import pytest
from warm_commands import python

from ecg_signals.cli.list import listing, uses
from ecg_signals.cli.recipes import packaged_sections
from ecg_signals.config import UsageError
from ecg_signals.registry import REGISTRIES


def run(*arguments, cwd):
    return subprocess.run(
        [python(), "-m", "ecg_signals.cli.list", *arguments], cwd=cwd, capture_output=True, text=True
    )


def test_all_kinds_and_names_are_listed_with_a_description():
    text = listing()
    assert all(f"{kind} (" in text for kind in REGISTRIES)
    line = next(line for line in text.splitlines() if line.strip().startswith("wav2vec2_cmsc "))
    assert len(line.split()) > 3


def test_a_description_says_what_a_thing_is_not_where_it_comes_from():
    line = next(line for line in listing("model").splitlines() if line.strip().startswith("ecg_transformer "))
    assert "encoder for ECG" in line
    assert listing("model", "ecg_transformer").splitlines()[0].endswith(line.split("ecg_transformer ")[1].strip())
    assert "Source:" not in listing()


def test_one_name_shows_its_file_options_and_recipes():
    text = listing("model", "wav2vec2_cmsc")
    assert "models/wav2vec2/wav2vec2_cmsc.py" in text
    row = next(line for line in text.splitlines() if line.strip().startswith("encoder_layers "))
    assert row.split()[1] == "12" and len(row.split()) > 2
    recipes = text.splitlines()[-1]
    assert recipes.startswith("recipes: ") and "w2v_cmsc_rlm_large" in recipes and "finetune" not in recipes


def test_a_recipe_counts_for_what_it_inherits_and_what_it_takes_by_default():
    found = dict(packaged_sections())
    assert uses(found["w2v_cmsc_rlm_small"], "model", "wav2vec2_cmsc")
    assert uses(found["w2v_cmsc_rlm_small"], "optimizer", found["w2v"]["optimizer"]["_name"])
    assert not uses(found["w2v_cmsc_rlm_small"], "model", "wav2vec2")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("modle",), "did you mean 'model'"), (("model", "wav2vec2_cmcs"), "did you mean 'wav2vec2_cmsc'")],
)
def test_a_misspelt_kind_or_name_gets_its_nearest_neighbour(arguments, message):
    with pytest.raises(UsageError, match=message):
        listing(*arguments)


def test_unknown_names_end_with_status_2(tmp_path):
    done = run("modle", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("error: unknown kind 'modle'; did you mean 'model'?")


def test_a_plugin_folder_adds_its_names(tmp_path):
    (tmp_path / "my_ecg_plugin.py").write_text(
        "from ecg_signals.models.base import BaseModel\nfrom ecg_signals.registry import register_model\n\n"
        '@register_model("my_listed_model")\nclass Mine(BaseModel):\n    """What it is."""\n'
    )
    done = run("model", "--user-dir", "my_ecg_plugin.py", cwd=tmp_path)
    assert "my_listed_model" in done.stdout and "What it is." in done.stdout, done.stderr


def test_listing_imports_no_torch(tmp_path):
    code = "import sys; sys.argv = ['ecg-list']; from ecg_signals.cli.list import main; main(); "
    code += "assert not {'torch', 'wfdb', 'transformers'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", [["list", "model"], ["convert", "nowhere.pt", "out.pt", "--to", "fairseq"]])
def test_a_plugin_that_cannot_be_imported_is_named(words, tmp_path):
    plugin = tmp_path / "broken-1.0.dist-info"
    plugin.mkdir()
    (plugin / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (plugin / "entry_points.txt").write_text("[ecg_signals.plugins]\nbroken = not_there_at_all\n")
    command = [python(), "-m", f"ecg_signals.cli.{words[0]}", *words[1:]]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "plugin 'broken' of broken was left out" in done.stderr
