"""Tab completion, recipes by name, and the commands without console scripts."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from warm_commands import python

from ecg_signals.cli.commands import COMMANDS
from ecg_signals.cli.completion import candidates, complete, shell_line
from ecg_signals.cli.list import listing
from ecg_signals.cli.recipes import packaged_recipes, recipe_names
from ecg_signals.config import UsageError


def typed(line, monkeypatch):
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    return candidates()


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("ecg-train --config-name w2v_c", ["w2v_cmsc ", "w2v_cmsc_augs ", "w2v_cmsc_rlm "]),
        ("ecg-validate --config-name=finetune/d", ["finetune/diagnosis "]),
        ("ecg-train --config-n", ["--config-name "]),
        ("ecg-train --cfg ", ["all ", "hydra ", "job "]),
        ("ecg-train optimization.max_", ["optimization.max_epoch=", "optimization.max_update="]),
        ("ecg-train +optimi", ["+optimization.", "+optimizer."]),
        ("ecg-train model=wav", ["wav2vec2 ", "wav2vec2_cmsc "]),
        ("ecg-train optimizer._name=adamw", ["adamw "]),
        ("ecg-train common.log_format=s", ["simple "]),
        ("ecg-train common.fp16=", ["false ", "true "]),
        ("ecg-train --config-name finetune/diagnosis model.num", ["model.num_labels="]),
        ("ecg-list mo", ["model "]),
        ("ecg-list recipe 3", ["3kg "]),
        ("ecg-list optimizer ada", ["adam ", "adam_l2 ", "adamw "]),
        ("ecg-preprocess ptb", ["ptb ", "ptbxl "]),
        ("ecg-convert a b --to f", ["fairseq ", "fairseq_signals "]),
        ("ecg-predict --mod", ["--model "]),
        ("ecg-cluster d", ["dump "]),
        ("ecg-train nonsense.", []),
        ("ecg-", []),
        ("", []),
    ],
)
def test_what_stands_at_the_cursor_is_completed(line, found, monkeypatch):
    got = typed(line, monkeypatch)
    assert [text for text in got if text in found] == found
    assert got == found or line.endswith("w2v_c")


def test_recipes_of_a_folder_given_before_are_completed(tmp_path):
    (tmp_path / "mine.yaml").touch()
    assert complete("train", ["--config-dir", str(tmp_path), "--config-name"], "mi") == ["mine "]


def test_bash_completes_from_the_one_line_of_the_documentation(tmp_path):
    assert (
        shell_line()
        in subprocess.run(
            [python(), "-m", "ecg_signals", "list", "--completion"], capture_output=True, text=True
        ).stdout
    )
    (tmp_path / "ecg-list").write_text(f'#!/bin/sh\nexec {python()} -m ecg_signals list "$@"\n')
    (tmp_path / "ecg-list").chmod(0o755)
    script = (
        f"{shell_line()}\ncomplete -p ecg-train\nCOMP_LINE='ecg-train --config-name w2v_cmsc_rlm_s' ecg-list --complete"
    )
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([shutil.which("bash"), "-c", script], env=environment, capture_output=True, text=True)
    registered, *found = done.stdout.splitlines()
    assert "ecg-list --complete" in registered and found == ["w2v_cmsc_rlm_small "], done.stderr


def test_every_command_has_a_line_and_a_module():
    import tomllib

    scripts = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["scripts"]
    assert {name.removeprefix("ecg-") for name in scripts} == set(COMMANDS)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_command_says_our_version(command, tmp_path):
    import ecg_signals

    words = [python(), "-m", "ecg_signals", *filter(None, [command]), "--version"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"ecg-signals {ecg_signals.__version__}\n"), done.stderr


def test_a_misspelt_command_has_a_neighbour(tmp_path):
    words = [python(), "-m", "ecg_signals"]
    done = subprocess.run([*words, "trian"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and "did you mean 'train'?" in done.stderr
    assert "ecg-COMMAND" in subprocess.run(words, cwd=tmp_path, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("module", "words", "guess"),
    [
        ("predict", ["r", "--modl", "x"], "--model"),
        ("pack", ["a", "b", "--dtyp=int16"], "--dtype"),
        ("convert", ["a", "b", "--too", "hf"], "--to"),
        ("test", ["a", "--modle", "x"], "--model"),
        ("list", ["--userdir", "x"], "--user-dir"),
        ("cluster", ["fit", "a", "b", "--cluster", "3"], "--clusters"),
        ("preprocess", ["ptbxl", "a", "b", "--worker", "2"], "--workers"),
    ],
)
def test_a_misspelt_option_of_every_command_has_a_neighbour(module, words, guess):
    import importlib

    with pytest.raises(UsageError, match=f"did you mean {guess}\\?"):
        importlib.import_module(f"ecg_signals.cli.{module}").run(words)


def test_recipes_are_listed_with_a_sentence_each():
    text = listing("recipe")
    assert text.count("\n") == len(recipe_names(packaged_recipes())) and text in listing()
    assert all(len(line.split()) > 3 for line in text.splitlines()[1:])


def test_one_recipe_shows_what_it_sets_with_what_it_starts_from_and_the_line_to_type():
    text = listing("recipe", "w2v_cmsc_rlm")
    assert "  task.mask_leads_prob=0.5\n" in text and "  model._name=wav2vec2_cmsc\n" in text
    assert text.endswith("use: ecg-train --config-name w2v_cmsc_rlm task.data=...")
    with pytest.raises(UsageError, match="did you mean 'w2v_cmsc_rlm'"):
        listing("recipe", "w2v_cmcs_rlm")
