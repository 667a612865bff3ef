"""KED's ECG encoder: its files, sizes and features, against the published program's."""

import json

import numpy as np
import pytest
import torch
from rule_weights import drawn

from ecg_signals import load_model
from ecg_signals.checkpoint.convert import convert
from ecg_signals.config import ConfigError
from ecg_signals.interop.ked.names import from_state, to_state
from ecg_signals.registry import build
from ecg_signals.signal.millivolt import millivolt

TWIN = (".convpath.0.", ".convs.")
TINY = {"blocks": [2, 1, 2], "widths": [4, 8, 6], "stem": [4, 4, 8]}


@pytest.fixture(scope="module")
def file(golden, tmp_path_factory):
    """What the program's training writes, but for the text models' weights."""
    keys = json.loads((golden / "ked/state_dict_ecg_model.json").read_text())
    state = drawn(keys, json.loads((golden / "ked/weights.json").read_text()), TWIN)
    others = {name: {"layer.weight": torch.zeros(2, 2)} for name in ("model", "text_encoder")}
    content = {**others, "ecg_model": state, "epoch": 3, "config": {"ecg_model": "xresnet1d_101"}}
    path = tmp_path_factory.mktemp("ked") / "best_valid.pt"
    torch.save(content, path)
    return path


def close(found, expected):
    assert np.abs(found.numpy() - expected).max() <= 1e-4 * np.abs(expected).max()


def test_features_equal_the_programs(file, golden):
    model = load_model(file)
    assert model.cfg._name == "xresnet1d" and model.cfg.widths == [64, 128, 128, 192]
    assert model.signal == millivolt(100, 10) and load_model(file, signal="fmb").signal == millivolt(500, 10)
    expected = np.load(golden / "ked/outputs.npz")
    with torch.no_grad():
        found = model.extract_features(torch.from_numpy(np.load(golden / "ked/inputs.npz")["source"]), layers="all")
    states = dict(zip((f"layer_{place}_0" for place in (3, 4, 5, 6)), found["hidden_states"]))
    for key, state in states.items():
        close(state[0, :12].T, expected[key])
    assert list(found["features"].transpose(1, 2).shape) == expected["map_shape"].tolist()
    close(found["features"].transpose(1, 2)[..., :8], expected["map"])
    close(found["pooled"], expected["pooled"])


def test_the_published_size_has_the_published_keys_and_count(golden):
    with torch.device("meta"):
        model = build("model", "xresnet1d", depth=101, widths=[64, 128, 128, 192])
    counts = json.loads((golden / "ked/param_counts.json").read_text())
    assert sum(value.numel() for value in model.parameters()) == counts["xresnet1d101_ked"]
    keys = json.loads((golden / "ked/state_dict_ecg_model.json").read_text())
    found = to_state(model.state_dict())
    assert {key: list(value.shape) for key, value in found.items()} == keys and list(found) == list(keys)


@pytest.mark.parametrize("more", [{}, {"expansion": 1, "kernel_size": 3, "stem_kernel_size": 7, "in_d": 2}])
def test_a_file_becomes_any_layout_and_again_what_it_was(more, tmp_path):
    model = build("model", "xresnet1d", **TINY, **more)
    before = to_state(model.state_dict())
    torch.save({"ecg_model": before, "epoch": 1}, tmp_path / "ked.pt")
    for source, dest, to in (("ked.pt", "folder", "hf"), ("folder", "a.pt", "fairseq"), ("a.pt", "b.pt", "original"),
                             ("ked.pt", "c.pt", "original")):  # fmt: skip
        convert(tmp_path / source, tmp_path / dest, to)
        state = load_model(tmp_path / dest).state_dict()
        assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    for name in ("b.pt", "c.pt"):
        after = torch.load(tmp_path / name, weights_only=True)["ecg_model"]
        assert list(after) == list(before) and all(torch.equal(after[key], value) for key, value in before.items())


def test_two_names_of_one_tensor_must_agree():
    state = to_state(build("model", "xresnet1d", **TINY).state_dict())
    key = next(key for key in state if TWIN[0] in key)
    with pytest.raises(ConfigError, match="though both are one weight"):
        from_state({**state, key: state[key] + 1})


def test_every_stage_has_a_width_of_its_own():
    with pytest.raises(ConfigError, match="give one for each of the 3 stages"):
        build("model", "xresnet1d", **{**TINY, "widths": [4, 8]})
