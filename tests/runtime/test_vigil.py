"""What is said of ranks that are slow or hang."""

import time

import pytest

from ecg_signals.runtime.vigil import Doing, Heard, Vigil, behind, described


def pulse(steps, what="the backward pass", update=7, seconds=3.0):
    return {"steps": steps, "what": what, "update": update, "seconds": seconds, "host": "node1"}


def test_the_rank_with_the_fewest_steps_holds_the_others_up():
    pulses = {0: pulse(21), 1: pulse(19, "the wait for data"), 2: pulse(21)}
    assert behind(pulses) == [1]
    text = described(pulses)
    assert text.startswith("rank 1 (node1) holds the others up: rank 1 has been in the wait for data of update 7 for 3")
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


def trouble(monkeypatch, **seconds_ago):
    """What rank 1 of 3 finds, 10 s being the limit, when the store answered, and others were heard, so long ago."""
    vigil = Vigil(Doing(what="the backward pass", update=7, steps=21), 10.0)
    vigil.rank, vigil.ranks, now = 1, 3, time.monotonic()
    vigil.doing.since = now - seconds_ago.pop("step", 0.0)
    vigil.answered = now - seconds_ago.pop("store", 0.0)
    vigil.heard = {int(key[4:]): Heard(pulse(21 - int(key[4:])), now - ago) for key, ago in seconds_ago.items()}
    return vigil._trouble()


def test_a_cut_connection_a_silent_rank_and_a_slow_one_are_told_apart(monkeypatch, caplog):
    assert trouble(monkeypatch, rank0=1.0, rank2=1.0) is None
    assert "has not reached the store of rank 0 for 11 s" in trouble(monkeypatch, store=11.0, rank0=11.0)
    assert trouble(monkeypatch, rank0=11.0).startswith("nothing has been heard of rank 0 (node1) for 11 s")
    assert trouble(monkeypatch, rank0=1.0, rank2=60.0) is None  # which only rank 0 listens to
    assert trouble(monkeypatch, step=11.0, rank0=1.0, rank2=1.0).startswith("rank 2 (node1) holds the others up")
    assert not caplog.text
    assert trouble(monkeypatch, step=6.0, rank0=1.0, rank2=1.0) is None
    assert "slow: rank 2 (node1) holds the others up" in caplog.text
