"""The state of a run: one line per piece, each stored and taken back, or forgotten as an option asks."""

import copy

import torch

from ecg_signals.composition import resolve_config
from ecg_signals.runtime.strategy import Strategy
from ecg_signals.training.state import Piece, TrainState
from ecg_signals.training.trainer import Trainer


def trainer(recipe, **checkpoint):
    recipe = copy.deepcopy(recipe)
    recipe["optimization"]["max_update"] = 2
    recipe["checkpoint"] |= checkpoint
    return Trainer(resolve_config(recipe))


def test_a_new_piece_of_state_is_one_line(classification, monkeypatch):
    counts, original = {"before": 7}, TrainState._pieces

    def pieces(self, *parts):
        piece = Piece(lambda: counts["before"], lambda stored: counts.update(after=stored), unless="reset_meters")
        return {**original(self, *parts), "count": piece}

    monkeypatch.setattr(TrainState, "_pieces", pieces)
    trainer(classification).train()
    trainer(classification, reset_meters=True)
    assert counts == {"before": 7}
    trainer(classification)
    assert counts == {"before": 7, "after": 7}


class Halves(Strategy):
    """Keeps every weight halved between two saves, as a strategy that spreads weights keeps its part of them."""

    def gather_state(self, state):
        return {**state, "model": {key: value * 2 for key, value in state["model"].items()}}

    def load_state(self, owner, state):
        whole = isinstance(owner, torch.nn.Module) and bool(state)
        owner.load_state_dict({key: value / 2 for key, value in state.items()} if whole else state)


def test_a_strategy_gathers_what_is_stored_and_gives_back_its_part(classification, monkeypatch):
    monkeypatch.setattr("ecg_signals.training.building.Strategy", Halves)
    first = trainer(classification)
    first.train()
    stored = torch.load(first.save_dir / "checkpoint_last.pt", weights_only=True)["model"]
    again = trainer(classification).model.state_dict()
    for key, value in first.model.state_dict().items():
        torch.testing.assert_close(stored[key], value * 2, rtol=0, atol=0)
        torch.testing.assert_close(again[key], value, rtol=0, atol=0)
