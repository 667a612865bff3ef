"""A run says where its files are, how large, and what to type to continue."""

import os
import re
import shlex
import subprocess

import pytest
from warm_commands import python

from ecg_signals.cli.console import COMMAND, how_to_continue
from ecg_signals.files import sized

TINY = [
    "--config-name", "scratch/diagnosis", "model.num_labels=3", "dataset.valid_subset=valid", "dataset.num_workers=0",
    "dataset.batch_size=8", "optimization.max_update=2", "common.log_format=simple", "model.encoder_layers=1",
    "model.encoder_embed_dim=16", "model.encoder_ffn_embed_dim=16", "model.encoder_attention_heads=2",
    "model.conv_feature_layers=[(16, 4, 4)] * 4", "checkpoint.save_interval_updates=1",
]  # fmt: skip


def train(folder, *words):
    command = [python(), "-m", "ecg_signals.cli.train", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_a_run_names_its_folder_and_files_and_the_printed_command_continues_it(sample, tmp_path):
    data = [f"task.data={sample.single}", f"task.label_file={sample.label_file}"]
    done = train(tmp_path, *TINY, *data)
    assert done.returncode == 0, done.stderr
    folder = next((tmp_path / "outputs").glob("*/*"))
    assert f"run folder: {folder}" in done.stdout
    assert re.search(r"written to .*checkpoints/checkpoint_last\.pt \(\d", done.stdout)
    typed = shlex.split(re.search(r"to continue where this run stopped: (.*)", done.stdout)[1])
    assert typed[0] == "ecg-train" and typed[-1] == f"hydra.run.dir={folder}"
    again = train(tmp_path, *typed[1:], "optimization.max_update=3")
    assert re.search(r"continuing from .*, update 2\n", again.stdout), again.stdout + again.stderr
    assert "the same command again continues" in again.stdout
    assert len(list((tmp_path / "outputs").glob("*/*"))) == 1


@pytest.mark.parametrize("option", ["checkpoint.no_last_checkpoints=true", "checkpoint.no_save=true"])
def test_a_run_without_a_last_checkpoint_does_not_say_that_it_can_be_continued(sample, tmp_path, option):
    data = [f"task.data={sample.single}", f"task.label_file={sample.label_file}"]
    done = train(tmp_path, *TINY, *data, option)
    assert done.returncode == 0, done.stderr
    assert "written to" in done.stdout and "continue" not in done.stdout


@pytest.mark.parametrize(
    ("typed", "sweep", "said"),
    [
        ("ecg-train --config-name a", None, "ecg-train --config-name a 'hydra.run.dir=/x y'"),
        ("ecg-train hydra.run.dir=here", None, "the same command again"),
        ("ecg-train -m a=1,2", "/s", "ecg-train -m a=1,2 hydra.sweep.dir=/s"),
        ("", None, "add hydra.run.dir=/x y to the command"),
    ],
)
def test_what_to_type_depends_on_what_was_typed(typed, sweep, said, monkeypatch, tmp_path):
    from pathlib import Path

    monkeypatch.setenv(COMMAND, typed)
    for name in ("RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    assert said in how_to_continue(Path("/x y"), Path(sweep) if sweep else None)


def test_behind_torchrun_only_the_words_to_add_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv(COMMAND, "ecg-train --config-name a")
    monkeypatch.setenv("RANK", "0")
    assert how_to_continue(tmp_path, None).endswith(f"to the command: hydra.run.dir={tmp_path}")


def test_a_size_is_said_in_the_unit_that_fits(tmp_path):
    path = tmp_path / "a"
    for size, text in ((7, "7 bytes"), (1234, "1.2 kB"), (123456, "123 kB"), (5_000_000, "5.0 MB")):
        with path.open("wb") as file:
            os.truncate(file.fileno(), size)
        assert sized(path, tmp_path) == f"a ({text})" and sized(path) == f"{path} ({text})"
