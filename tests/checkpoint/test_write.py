"""Writing checkpoints: complete or not at all."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from warm_commands import python

from ecg_signals.checkpoint import write
from ecg_signals.checkpoint.read import read_checkpoint
from ecg_signals.config import ConfigError

STATE = {"model": {"w": torch.arange(1000.0)}, "step": 1}


def test_a_written_file_loads_with_weights_only(tmp_path):
    write.write_checkpoint(tmp_path / "new" / "a.pt", STATE)
    assert torch.equal(torch.load(tmp_path / "new" / "a.pt", weights_only=True)["model"]["w"], STATE["model"]["w"])
    assert os.listdir(tmp_path / "new") == ["a.pt"]


def test_further_names_share_the_bytes_but_not_the_fate(tmp_path):
    write.write_checkpoint(tmp_path / "a.pt", STATE, [tmp_path / "b.pt"])
    assert (tmp_path / "a.pt").samefile(tmp_path / "b.pt")
    write.write_checkpoint(tmp_path / "a.pt", {**STATE, "step": 2})
    assert read_checkpoint(tmp_path / "b.pt")["step"] == 1


def test_names_are_copies_where_hard_links_do_not_exist(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    write.write_checkpoint(tmp_path / "a.pt", STATE, [tmp_path / "b.pt"])
    assert (tmp_path / "b.pt").read_bytes() == (tmp_path / "a.pt").read_bytes()


def test_a_full_disk_leaves_the_previous_file_and_names_what_is_needed(tmp_path, monkeypatch):
    write.write_checkpoint(tmp_path / "a.pt", STATE)
    before = (tmp_path / "a.pt").read_bytes()

    def full(_: object, path: object) -> None:
        with open(path, "wb") as stream:
            stream.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(ConfigError, match=r"a\.pt: No space left .* needs about 4,000 bytes, [\d,]+ are"):
        write.write_checkpoint(tmp_path / "a.pt", STATE)
    assert (tmp_path / "a.pt").read_bytes() == before and os.listdir(tmp_path) == ["a.pt"]


def test_a_file_that_the_system_cuts_short_is_an_error_and_the_previous_one_stays(tmp_path):
    write.write_checkpoint(tmp_path / "a.pt", STATE)
    code = (
        "import resource, sys, torch\nfrom ecg_signals.checkpoint.write import write_checkpoint\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "write_checkpoint(sys.argv[1], {'model': {'w': torch.zeros(100_000)}})\n"
    )
    done = subprocess.run([python(), "-c", code, str(tmp_path / "a.pt")], capture_output=True, text=True)
    assert "could not be written in full" in done.stderr and "needs about 400,000 bytes" in done.stderr
    assert read_checkpoint(tmp_path / "a.pt")["step"] == 1 and os.listdir(tmp_path) == ["a.pt"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot write .*save_dir"):
        write.write_checkpoint(tmp_path / "file" / "a.pt", STATE)


def test_a_kill_while_writing_leaves_a_complete_file(tmp_path):
    code = (
        "import sys, torch\nfrom ecg_signals.checkpoint.write import write_checkpoint\nstep = 0\n"
        "while True:\n    step += 1\n"
        "    write_checkpoint(sys.argv[1], {'w': torch.full((200_000,), float(step))}, [sys.argv[2]])\n"
    )
    names = [tmp_path / "a.pt", tmp_path / "b.pt"]
    process = subprocess.Popen([sys.executable, "-c", code, *map(str, names)])
    deadline = time.monotonic() + 60
    while not names[1].exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    for _ in range(20):
        for name in names:
            assert read_checkpoint(name)["w"].unique().numel() == 1
    process.send_signal(signal.SIGKILL)
    process.wait()
    for name in names:
        assert read_checkpoint(name)["w"].unique().numel() == 1
    write.remove_stale(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["a.pt", "b.pt"]


def test_unfinished_files_of_a_running_process_stay(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    mine, gone = tmp_path / f".a.pt.{other.pid}.x.writing", tmp_path / f".a.pt.{2**22 + 1}.x.writing"
    mine.write_text("")
    gone.write_text("")
    assert write.remove_stale(tmp_path) == [gone] and mine.exists()
    other.kill()
    other.wait()


def test_background_writing_keeps_the_values_of_the_moment(tmp_path):
    writer, weight = write.AsyncWriter(), torch.zeros(10)
    writer.submit(lambda state: write.write_checkpoint(tmp_path / "a.pt", state), {"model": {"w": weight}})
    weight += 1
    writer.wait()
    assert read_checkpoint(tmp_path / "a.pt")["model"]["w"].sum() == 0


def test_background_writing_reports_its_failure_at_the_next_call(tmp_path):
    (tmp_path / "file").write_text("")
    writer = write.AsyncWriter()
    writer.submit(lambda state: write.write_checkpoint(tmp_path / "file" / "a.pt", state), STATE)
    with pytest.raises(ConfigError, match="cannot write"):
        writer.wait()
    writer.wait()
