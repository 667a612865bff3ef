"""A run folder that cannot be made or filled, and a disk that fills up: one message, what was stored stays."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from warm_commands import python

COMMAND = "ecg_signals.cli.train"


def train(folder: Path, words: list[str]) -> subprocess.CompletedProcess[str]:
    command = [python(), "-m", COMMAND, "--config-name", "scratch/diagnosis", f"hydra.run.dir={folder}", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=Path(__file__).parent)


def on_a_disk_of(size: str, folder: Path, words: list[str]) -> subprocess.CompletedProcess[str]:
    """ecg-train with a run folder on a file system of `size`; skips where mounting is not allowed."""
    folder.mkdir()
    mount = f"mount -t tmpfs -o size={size} tmpfs {folder}"
    if shutil.which("unshare") is None or os.geteuid() != 0:
        pytest.skip("needs root and unshare")
    if subprocess.run(["unshare", "-m", "bash", "-c", mount], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    command = [
        sys.executable,
        "-m",
        COMMAND,
        "--config-name",
        "scratch/diagnosis",
        f"hydra.run.dir={folder}/run",
        *words,
    ]
    script = f'{mount} && "$@"; status=$?; ls {folder}/run; exit $status'
    return subprocess.run(
        ["unshare", "-m", "bash", "-c", script, "bash", *command], capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("words", [[], ["--multirun", "common.seed=1,2"]])
def test_a_run_folder_that_cannot_be_made_is_one_message(tmp_path: Path, words: list[str]):
    (tmp_path / "file").write_text("")
    done = train(tmp_path / "file" / "run", [f"hydra.sweep.dir={tmp_path}/file/run", *words])
    lines = done.stderr.splitlines()
    assert done.returncode == 1 and len(lines) == 1, done.stderr
    assert lines[0].startswith(f"error: cannot write {tmp_path}/file") and "hydra.run.dir=FOLDER" in lines[0]


def test_a_launcher_that_finds_no_slurm_is_one_message(tmp_path: Path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    done = train(tmp_path / "run", ["--multirun", f"hydra.sweep.dir={tmp_path}/sweep", "hydra/launcher=submitit_slurm"])
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "error: submitit: " in done.stderr and "take hydra/launcher=submitit_local" in done.stderr


def test_a_full_disk_at_the_start_is_one_message_that_names_the_run_folder(tmp_path: Path):
    done = on_a_disk_of("8k", tmp_path / "disk", [])
    lines = done.stderr.splitlines()
    assert done.returncode == 1 and len(lines) == 1, done.stderr
    assert f"cannot write {tmp_path}/disk/run: No space left on device. 0 bytes are free" in lines[0]
