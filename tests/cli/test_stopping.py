"""A SIGTERM ends a command that can be run again, wherever it arrives."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SAMPLE = Path(__file__).parents[2] / "examples" / "sample"
MESSAGE = "terminated; run the same command again to go on\n"
BLOCK = """
import os, signal, sys, time
from ecg_signals.cli import stopping
stopping.AGAIN = 0.05

def stop():
    os.kill(os.getpid(), signal.SIGTERM)

class Dropping:
    def __del__(self):
        stop()

def work():
    {}

with stopping.stopped_by_sigterm():
    work()
    print("went on")
"""
SWALLOWING = {
    "a finaliser": "x = Dropping(); del x; time.sleep(5)",
    "an except of a library": "\n    try:\n        stop()\n    except:\n        pass\n    time.sleep(5)",
    "another error": "\n    try:\n        stop()\n    except BaseException:\n        raise ImportError('x') from None",
    "an end of the block before it is raised again": "\n    try:\n        stop()\n    except:\n        pass",
    "code that writes to stderr": "signal.setitimer(signal.ITIMER_REAL, 5); stop()",
}


@pytest.mark.parametrize("work", SWALLOWING.values(), ids=SWALLOWING)
def test_a_stop_that_is_swallowed_ends_the_block_all_the_same(work):
    done = subprocess.run([sys.executable, "-c", BLOCK.format(work)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (143, MESSAGE)


def test_what_cleans_up_after_a_stop_is_let_finish():
    work = "\n    try:\n        stop()\n    finally:\n        time.sleep(0.5)\n        print('clean')"
    done = subprocess.run([sys.executable, "-c", BLOCK.format(work)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (143, "clean\n", MESSAGE)


def test_a_second_sigterm_ends_the_process_at_once():
    work = "\n    try:\n        stop()\n    finally:\n        stop()\n        time.sleep(60)"
    done = subprocess.run([sys.executable, "-c", BLOCK.format(work)], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (-signal.SIGTERM, MESSAGE)


@pytest.mark.parametrize("moment", ["nothing", "numpy", "pandas", "records.csv", "progress.jsonl"])
def test_sigterm_at_any_moment_ends_ecg_preprocess_with_one_message(tmp_path, moment):
    """From the start of the process on: before Python runs, while it imports, while tables are read, while records are.

    Before the command has begun the system ends it without a word. The last one goes to the workers too, as SLURM's.
    """
    words = ["ptbxl", str(SAMPLE), str(tmp_path / "dest"), "--workers", "2"]
    command = [sys.executable, "-m", "ecg_signals.cli.preprocess", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    maps, written = Path(f"/proc/{process.pid}/maps"), tmp_path / "dest" / moment
    while process.poll() is None and moment != "nothing":
        if (written.is_file() and written.stat().st_size) or moment in maps.read_text():
            break
        time.sleep(0.002)
    if moment == "progress.jsonl":
        os.killpg(process.pid, signal.SIGTERM)
    else:
        process.terminate()
    errors = process.communicate(timeout=60)[1]
    early = moment in ("nothing", "numpy")
    assert process.returncode == 143 or (early and process.returncode == -signal.SIGTERM), errors
    assert errors.count(MESSAGE) == (process.returncode == 143)
    assert "Traceback" not in errors and "ignored" not in errors and "error" not in errors
