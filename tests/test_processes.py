"""A process that a signal ends is named, with the signal and what to type."""

import os
import signal

import pytest

from ecg_signals.config import ConfigError
from ecg_signals.processes import ending, process_pool


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
