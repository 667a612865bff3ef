"""What is said of ranks that are slow or hang."""

import time

import pytest

from ecg_signals.runtime.vigil import Doing, behind, described


def pulse(steps, what="the backward pass", update=7, seconds=3.0):
    return {"steps": steps, "what": what, "update": update, "seconds": seconds, "host": "node1"}


def test_the_rank_with_the_fewest_steps_holds_the_others_up():
    pulses = {0: pulse(21), 1: pulse(19, "the wait for data"), 2: pulse(21)}
    assert behind(pulses) == [1]
    text = described(pulses)
    assert text.startswith("rank 1 (node1) holds the others up: rank 1 has been in the wait for data of update 7 for 3 s")
    assert "rank 0 has been in the backward pass" in text


def test_nobody_is_to_blame_where_all_stand_at_the_same_step():
    assert behind({0: pulse(5), 1: pulse(5)}) == []
    assert described({0: pulse(5), 1: pulse(5)}).startswith("all ranks wait for each other")


def test_steps_are_counted_and_timed():
    doing = Doing()
    doing.now("the wait for data", 3)
    time.sleep(0.02)
    assert doing.seconds() >= 0.02
    doing.now("the forward pass")
    assert doing.pulse() == {"what": "the forward pass", "update": 3, "steps": 2, "seconds": pytest.approx(0, abs=0.02)}
