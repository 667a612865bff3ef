"""A process that a signal ends is named, with the signal and what to type."""

import os
import signal
import subprocess
import sys
import time

import pytest

from ecg_signals.config import ConfigError
from ecg_signals.processes import by_processes, ending, process_pool


def _end(number: int) -> int:
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_pool_names_the_process_that_a_signal_ended_and_what_to_type():
    with (
        pytest.raises(ConfigError, match=r"worker process \d+ was ended by SIGKILL .*memory.*\. Type --workers 1$"),
        process_pool(1, "Type --workers 1") as pool,
    ):
        list(pool.map(_end, range(3)))


def test_exit_statuses_are_told_in_words():
    assert ending(3) == "ended with status 3" and ending(-15) == "was ended by SIGTERM" and ending(-200).endswith("200")
    assert "/dev/shm" in ending(-signal.SIGBUS)


def _slow_first(number: int) -> int:
    time.sleep(2 if number == 0 else 0)
    return number


def test_results_come_in_order_or_those_first_that_are_done():
    assert list(by_processes(_slow_first, range(8), 2, 2)) == list(range(8))
    assert set(by_processes(_slow_first, range(8), 2, 2, ordered=False)) == set(range(8))
    assert next(iter(by_processes(_slow_first, range(16), 2, 2, ordered=False))) != 0


ABANDONED = """
import os, signal, time
from ecg_signals.processes import process_pool

with process_pool(1, "") as pool:
    pool.submit(os.getpid).result()
    pool.submit(time.sleep, 600)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_pool_leaves_with_the_process_that_it_works_for():
    # a worker holds the other end of the output, too: this returns when both are gone
    told = subprocess.run([sys.executable, "-c", ABANDONED], capture_output=True, timeout=60)
    assert told.returncode == -signal.SIGKILL
