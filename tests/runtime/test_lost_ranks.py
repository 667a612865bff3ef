"""Ranks that die, hang or are cut off: the others name them, end, and the run goes on from its last checkpoint."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from test_training_ranks import command, environment, processes_of, settings

ENDLESS = {"optimization.max_update": 0, "optimization.max_epoch": 0, "dataset.disable_validation": True}
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
    words = command(1, settings(recipe, folder, **options), sys.executable)
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


class Relay:
    """Between the two nodes; while it is cut, nothing passes, and no connection is closed."""

    def __init__(self, port):
        self.port, self.passing = port, threading.Event()
        self.passing.set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.own_port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            near, _ = self.listener.accept()
            self.passing.wait()
            try:
                far = socket.create_connection(("127.0.0.1", self.port))
            except OSError:  # the other node has not come yet
                near.close()
                continue
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self.pump, args=pair, daemon=True).start()

    def pump(self, source, sink):
        try:
            while content := source.recv(65536):
                self.passing.wait()
                sink.sendall(content)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@pytest.mark.slow
def test_two_nodes_whose_connection_is_cut_say_so_and_go_on_when_it_is_back(pretraining, tmp_path):
    timeout, folder = 4, tmp_path / "run"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    relay = Relay(port)

    def nodes(updates):
        for rank, where in enumerate((port, relay.own_port)):
            options = {
                **ENDLESS, **SAVING, "optimization.max_update": updates, "distributed_training.distributed_rank": rank,
                "distributed_training.distributed_world_size": 2, "distributed_training.distributed_no_spawn": True,
                "distributed_training.distributed_backend": "gloo", "common.cpu": True,
                "distributed_training.distributed_init_method": f"tcp://127.0.0.1:{where}",
                "distributed_training.heartbeat_timeout": timeout,
            }  # fmt: skip
            words = command(1, settings(pretraining, folder, **options), sys.executable)
            yield start(words, folder, tmp_path / f"{rank}.log")

    first = list(nodes(0))
    wait_for(folder / "checkpoints" / "metrics.jsonl", '"num_updates": 3', first[0])
    relay.passing.clear()
    cut = time.monotonic()
    assert [ended(one, 60) for one in first] == [1, 1]
    assert time.monotonic() - cut < 4 * timeout + 10
    texts = [(tmp_path / f"{rank}.log").read_text() for rank in range(2)]
    assert "nothing has been heard of rank 1" in texts[0] or "rank 1 of 2 ended or no longer answers" in texts[0]
    assert "has not reached the store of rank 0" in texts[1] or "rank 0 of 2 ended or no longer answers" in texts[1]
    relay.passing.set()
    done = max(losses(folder))
    assert [ended(one, 90) for one in list(nodes(done + 2))] == [0, 0]
    assert list(losses(folder)) == list(range(1, done + 3))
