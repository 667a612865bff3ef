import logging
import threading

import pytest

from ecg_signals import pulse
from ecg_signals.pulse import Pulse, in_words


def test_a_line_says_where_a_long_update_is_and_how_long_the_epoch_still_takes(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(pulse.time, "monotonic", lambda: clock[0])
    told = Pulse(epoch=3, total=10, done=4)
    told.update_starts(8)
    assert told.line() == "epoch 003: update 5 of 10, batch 1 of 8"
    clock[0] += 60
    told.batch_done()
    assert told.line() == "epoch 003: update 5 of 10, batch 2 of 8, about 47 min of this epoch left"
    for _ in range(7):
        told.batch_done()
    for _ in range(6):
        told.update_done()
    assert told.line() == "epoch 003: validating or saving"


@pytest.mark.parametrize(("seconds", "text"), [(4.2, "4 s"), (59, "59 s"), (200, "3 min"), (7800, "2 h 10 min")])
def test_a_length_of_time_in_words(seconds, text):
    assert in_words(seconds) == text


def test_a_log_that_stays_quiet_gets_lines_whose_pauses_double(monkeypatch, caplog):
    monkeypatch.setattr(pulse, "TICK_SECONDS", 0.001)
    caplog.set_level(logging.INFO)
    told = Pulse(epoch=1, total=2, done=0)
    told.pause = 0.0
    second = threading.Event()
    told.line = lambda: second.set() or "here"
    with told:
        assert second.wait(10)
    assert "here" in caplog.text
    told.pause = 8.0
    told.spoke()
    assert told.pause == pulse.QUIET_SECONDS


class Bar:
    def __init__(self):
        self.said, self.refreshed = [], threading.Event()

    def set_description(self, text, refresh):
        self.said.append(text)

    def refresh(self):
        self.refreshed.set()


def test_on_a_terminal_the_bar_counts_batches_and_its_clock_runs_on(monkeypatch):
    monkeypatch.setattr(pulse, "TICK_SECONDS", 0.001)
    bar = Bar()
    with Pulse(epoch=1, total=1, done=0, bar=bar) as told:
        told.update_starts(2)
        told.batch_done()
        assert bar.refreshed.wait(10)
    assert bar.said == ["epoch 001, batch 1/2"]
