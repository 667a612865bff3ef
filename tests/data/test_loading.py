"""Batches reach training without shared memory, and a process that dies ends a run with one message."""

import gc
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from ecg_signals.config import ConfigError
from ecg_signals.data import blocks
from ecg_signals.data.loading import Collated, Piped, batches_in_order, loader_death, opened
from ecg_signals.processes import handling


class Signals(torch.utils.data.Dataset):
    """Items [12, 2500] that hold their number; one may fail or end its process."""

    def __init__(self, count: int, fails: int | None = None, ends_by: int | None = None) -> None:
        self.count, self.fails, self.ends_by = count, fails, ends_by

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if index == self.fails:
            if self.ends_by:
                os.kill(os.getpid(), self.ends_by)
            raise ConfigError(f"item {index} is broken; write it again")
        return {"signal": torch.full((1, 12, 2500), float(index)), "number": torch.tensor([index])}


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_order_and_errors_as_they_are(workers: int):
    found = [batch["number"].tolist() for batch in batches_in_order(Signals(7), 3, workers)]
    assert found == [[0, 1, 2], [3, 4, 5], [6]]
    with pytest.raises(ConfigError, match=r"^item 4 is broken; write it again$"):
        list(batches_in_order(Signals(7, fails=4), 3, workers))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGBUS])
def test_a_loading_process_that_a_signal_ends_is_named_with_the_signal(number: int):
    said = message_of_a_death(number)
    assert re.match(r"loading process \d+ was ended by ", said) and signal.Signals(number).name in said
    assert "dataset.num_workers=0" in said and "shm-size" in said


def message_of_a_death(number: int) -> str:
    """Commands take PyTorch's error from any line; here it may come from one outside of what handles it."""
    try:
        list(batches_in_order(Signals(8, fails=5, ends_by=number), 2, 2))
    except ConfigError as error:
        return str(error)
    except RuntimeError as error:
        with handling({signal.SIGCHLD: signal.SIG_DFL}):
            death = loader_death(error.with_traceback(None))
            gc.collect()  # the other loading process ends now, and nobody is told again
        return str(death)
    return ""


def test_only_what_pytorch_says_of_loading_processes_is_taken_for_a_death():
    assert loader_death(RuntimeError("shape mismatch")) is None
    assert loader_death(ValueError("DataLoader worker (pid 3) is killed by signal: Killed. ")) is None
    assert "3, 4 ended unexpectedly" in str(
        loader_death(RuntimeError("DataLoader worker (pid(s) 3, 4) exited unexpectedly"))
    )


def test_a_batch_without_room_in_shared_memory_goes_through_the_pipe_whole(monkeypatch):
    batch = {"x": [torch.arange(6.0).bfloat16(), (torch.zeros(0), "name")], "n": 3}

    def refuse(tensor: torch.Tensor) -> None:
        raise RuntimeError(
            "unable to allocate shared memory(shm) for file </torch_1_2_3>: No space left on device (28)"
        )

    monkeypatch.setattr(torch.Tensor, "share_memory_", refuse)
    monkeypatch.setattr(blocks, "filling", blocks.Filling())  # as in a loading process
    sent = Collated(lambda items: items[0])([batch])
    assert isinstance(sent, Piped)
    received = opened(sent)
    assert torch.equal(received["x"][0], batch["x"][0]) and received["x"][1][1] == "name" and received["n"] == 3


SMALL = "mount -t tmpfs -o size={size} tmpfs /dev/shm"


def in_small_shared_memory(size: str, code: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a mount namespace of its own; skips where that is not allowed."""
    if shutil.which("unshare") is None or os.geteuid() != 0:
        pytest.skip("needs root and unshare")
    mount = SMALL.format(size=size)
    if subprocess.run(["unshare", "-m", "bash", "-c", mount], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    command = ["unshare", "-m", "bash", "-c", f'{mount} && exec "$0" -c "$1"', sys.executable, textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=Path(__file__).parent)


def test_batches_arrive_in_64_kilobytes_of_shared_memory_and_without_any():
    done = in_small_shared_memory(
        "64k",
        """
        import logging
        from pathlib import Path
        from test_loading import Signals
        from ecg_signals.data.loading import batches_in_order
        if __name__ == "__main__":
            logging.basicConfig()
            for _ in range(2):
                found = [(batch["signal"], batch["number"]) for batch in batches_in_order(Signals(6), 2, 2)]
                print([n.tolist() for x, n in found if (x[:, 3, 7] == n).all()])
            try:
                Path("/dev/shm/full").write_bytes(bytes(1 << 17))
            except OSError:
                pass
            print([batch["number"].tolist() for batch in batches_in_order(Signals(6), 2, 2)])
        """,
    )
    pipes, none = done.stderr.splitlines()
    assert done.returncode == 0 and done.stdout.splitlines() == ["[[0, 1], [2, 3], [4, 5]]"] * 3
    assert "come through pipes" in pipes and "no loading process can be started" in none
    assert all("--shm-size" in said and "dataset.num_workers=0" in said for said in (pipes, none))
