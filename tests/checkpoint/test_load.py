"""`load_model` and `load_source`: layouts, strictness, what a model carries."""

import argparse
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from ecg_signals.checkpoint.load import load_model, load_source
from ecg_signals.config import BaseConfig, ConfigError, UsageError, option
from ecg_signals.models.base import BaseModel
from ecg_signals.registry import register_model


@dataclass
class ProbeConfig(BaseConfig):
    dim: int = option(4, "width")
    bias: bool = option(True, "with a bias")
    corrected: bool = option(True, "today's arithmetic")
    no_pretrained_weights: bool = option(False, "do not read model_path")
    model_path: str | None = option(None, "pretrained file")


class Probe(BaseModel):
    """A linear layer that refuses to read anything else."""

    def __init__(self, cfg):
        super().__init__(cfg)
        assert cfg.model_path is None or cfg.no_pretrained_weights
        self.proj = nn.Linear(cfg.dim, 2, bias=cfg.bias)

    @classmethod
    def published_options(cls):
        return {"corrected": False}

    def forward(self, source, padding_mask=None):
        return {"features": source, "logits": self.proj(source.mean(dim=1))}


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setattr(register_model, "entries", dict(register_model.entries))
    register_model("checkpoint_probe", dataclass=ProbeConfig)(Probe)


def peer_file(path, **changes):
    cfg = {"model": {"_name": "checkpoint_probe", "dim": 6, "gone_since": 1, "model_path": "elsewhere.pt"}, "task": {}}
    model = {"proj.weight": torch.randn(2, 6), "proj.bias": torch.zeros(2)}
    torch.save({"args": None, "cfg": cfg, "model": model, **changes}, path)
    return path


def test_a_model_comes_back_in_eval_mode_and_float32(tmp_path):
    file = peer_file(tmp_path / "a.pt", model={"proj.weight": torch.ones(2, 6).half(), "proj.bias": torch.zeros(2)})
    model = load_model(file)
    assert not model.training and model.proj.weight.dtype == torch.float32 and model.cfg.dim == 6


def test_files_of_fairseq_signals_get_the_published_options(tmp_path):
    assert load_model(peer_file(tmp_path / "a.pt")).cfg.corrected is False


def test_an_override_replaces_a_stored_option(tmp_path):
    assert load_model(peer_file(tmp_path / "a.pt"), corrected=True).cfg.corrected is True
    with pytest.raises(UsageError, match="did you mean 'corrected'"):
        load_model(peer_file(tmp_path / "a.pt"), corected=True)


def test_loading_leaves_the_random_state_alone(tmp_path):
    file = peer_file(tmp_path / "a.pt")
    before = torch.get_rng_state()
    load_model(file)
    assert torch.equal(before, torch.get_rng_state())


def test_weights_that_do_not_fit_are_named(tmp_path):
    file = peer_file(tmp_path / "a.pt", model={"proj.weight": torch.zeros(3, 6), "extra.w": torch.zeros(1)})
    with pytest.raises(ConfigError) as caught:
        load_model(file)
    for part in (
        "missing in the file: proj.bias",
        "not in the model: extra.w",
        "proj.weight ([3, 6] in the file, [2, 6]",
    ):
        assert part in str(caught.value)


def test_our_files_keep_their_options_labels_and_contract(tmp_path):
    signal = {"sample_rate": 250.0, "leads": ["I", "II"], "window_samples": 1250}
    ours = {"options": {"model": {"_name": "checkpoint_probe", "dim": 6}}, "labels": ["a", "b"], "signal": signal}
    model = load_model(peer_file(tmp_path / "a.pt", extra_state={"ecg_signals": ours}))
    assert model.labels == ["a", "b"] and model.cfg.corrected is True
    assert model.signal.sample_rate == 250.0 and model.signal.leads == ["I", "II"]


def test_old_argparse_files_become_sections(tmp_path):
    args = argparse.Namespace(arch="checkpoint_probe", dim=6, lr=0.1, min_lr=1e-9, data=["a", "b"], sample_rate=400)
    source = load_source(peer_file(tmp_path / "a.pt", cfg=None, args=args))
    assert source.name == "checkpoint_probe" and source.options["dim"] == 6
    assert source.cfg["optimization"]["lr"] == [0.1] and source.cfg["optimization"]["stop_min_lr"] == 1e-9


def test_a_model_of_an_unknown_package_says_how_to_import_it(tmp_path):
    cfg = {"model": {"_name": "their_model"}, "common": {"user_dir": "plugins/theirs"}}
    with pytest.raises(ConfigError, match=r"'their_model'.*set common.user_dir=plugins/theirs"):
        load_model(peer_file(tmp_path / "a.pt", cfg=cfg))


@pytest.mark.parametrize(
    "content", [{}, {"state_dict": {"w": torch.zeros(1)}}, {"model": {}, "cfg": {}}, {"w": torch.zeros(2)}]
)
def test_an_unknown_layout_names_what_was_found(tmp_path, content):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(ConfigError, match=r"Found the keys: .*Known layouts: .*fairseq-signals") as caught:
        load_model(tmp_path / "a.pt")
    assert all(key in str(caught.value) for key in content)


def test_a_config_without_a_model_name_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match=r"no model\._name"):
        load_model(peer_file(tmp_path / "a.pt", cfg={"model": {}}))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match="sees no GPU"):
        load_model(tmp_path / "any.pt", device="cuda")
