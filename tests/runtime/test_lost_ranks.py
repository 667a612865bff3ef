"""Ranks that die, hang or are cut off: the others name them, end, and the run goes on from its last checkpoint."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_training_ranks import command, environment, processes_of, settings
from warm_commands import python

EVERY = {"save_interval_updates": 1, "keep_interval_updates": 1, "save_interval": 1000}
SAVING = {f"checkpoint.{key}": value for key, value in EVERY.items()}
HANG = """
import os, time
from ecg_signals.trainer import Trainer

original = Trainer.train_update

def hang(self, batches):
    if self.rank == 1 and self.at.num_updates == 2 and not os.path.exists("hung"):
        open("hung", "w").close()
        time.sleep(3600)
    original(self, batches)

Trainer.train_update = hang
"""


def start(words, folder, log):
    folder.mkdir(exist_ok=True)
    with open(log, "ab") as file:
        return subprocess.Popen(words, cwd=folder, env=environment(), stdout=file, stderr=file, start_new_session=True)


def wait_for(path, text, running, seconds=90):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and running.poll() is None:
        if path.exists() and text in path.read_text():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} does not hold {text!r}")


def ended(running, seconds):
    try:
        return running.wait(seconds)
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)


def losses(folder):
    rows = map(json.loads, (folder / "checkpoints" / "metrics.jsonl").read_text().splitlines())
    return {row["num_updates"]: row["loss"] for row in rows if row["split"] == "train_inner"}


def undisturbed(recipe, folder, updates):
    """By one process, with as many items in every update."""
    options = {"optimization.max_update": updates, "optimization.update_freq": [2], "dataset.disable_validation": True}
    words = command(1, settings(recipe, folder, **options), python())
    running = start(words, folder, folder.with_suffix(".log"))
    assert ended(running, 90) == 0
    return losses(folder)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the processes of a rank under /proc")
def test_torchrun_restarts_a_run_that_lost_and_then_hangs_on_a_rank_and_its_losses_stay(pretraining, tmp_path):
    """Rank 1 hangs in the third update, which ends the first try; the second one loses a rank to SIGKILL."""
    folder, log = tmp_path / "run", tmp_path / "log.txt"
    (tmp_path / "plugin").mkdir()
    (tmp_path / "plugin" / "__init__.py").write_text(HANG)
    options = {
        **SAVING, "optimization.max_update": 12, "dataset.disable_validation": True, "optimization.update_freq": [1],
        "distributed_training.heartbeat_timeout": 3, "common.user_dir": str(tmp_path / "plugin"),
    }  # fmt: skip
    words = command(2, settings(pretraining, folder, **options), sys.executable)
    place = words.index("--standalone")
    words[place:place] = ["--max-restarts", "2"]
    running = start(words, folder, log)
    metrics = folder / "checkpoints" / "metrics.jsonl"
    wait_for(log, "rank 1 (", running)
    wait_for(metrics, '"num_updates": 5', running)
    os.kill(max(processes_of(running.pid)), signal.SIGKILL)
    assert ended(running, 120) == 0, log.read_text()[-4000:]
    assert "rank 1 has been in the wait for data of update 3" in log.read_text()
    found = losses(folder)
    assert list(found) == list(range(1, 13))
    assert found == pytest.approx(undisturbed(pretraining, tmp_path / "one", 12), rel=1e-6)
