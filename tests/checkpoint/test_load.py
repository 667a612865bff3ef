"""`load_model` and `load_source`: layouts, strictness, what a model carries."""

import argparse
import json
import threading
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from ecg_signals.checkpoint.convert import convert
from ecg_signals.checkpoint.load import load_model, load_source
from ecg_signals.checkpoint.state import unpack_state
from ecg_signals.config import BaseConfig, ConfigError, UsageError, option
from ecg_signals.models.base import BaseModel
from ecg_signals.registry import register_model
from ecg_signals.sections import CheckpointConfig


@dataclass
class ProbeConfig(BaseConfig):
    dim: int = option(4, "width")
    bias: bool = option(True, "with a bias")
    corrected: bool = option(True, "today's arithmetic")
    model_path: str | None = option(None, "pretrained file")


class Probe(BaseModel):
    """A linear layer."""

    def __init__(self, cfg):
        super().__init__(cfg)
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


def wrapped(names: dict, prefix: str) -> dict:
    return {f"{prefix}{key}": value for key, value in names.items()}


PREFIXES = ["_orig_mod.", "module.", "_forward_module.", "module._orig_mod.", "_orig_mod.module.",
            "_fsdp_wrapped_module.", "module.module."]  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXES)
def test_weights_saved_inside_a_wrapper_load_and_the_count_is_said(tmp_path, prefix, caplog):
    weights = {"proj.weight": torch.randn(2, 6), "proj.bias": torch.ones(2)}
    model = load_model(peer_file(tmp_path / "a.pt", model=wrapped(weights, prefix)))
    assert torch.equal(model.proj.weight, weights["proj.weight"])
    assert "2 of 2 weights" in caplog.text


def test_a_wrapper_around_one_part_of_a_model_is_left_out_too(tmp_path):
    weights = {"proj._orig_mod.weight": torch.randn(2, 6), "proj._checkpoint_wrapped_module.bias": torch.ones(2)}
    model = load_model(peer_file(tmp_path / "a.pt", model=weights))
    assert torch.equal(model.proj.weight, weights["proj._orig_mod.weight"])


def test_the_same_weight_with_and_without_a_wrapper_is_refused(tmp_path):
    weights = {"proj.weight": torch.randn(2, 6), "_orig_mod.proj.weight": torch.randn(2, 6)}
    with pytest.raises(ConfigError, match="weights twice"):
        load_model(peer_file(tmp_path / "a.pt", model=weights))


def test_weights_that_are_called_module_in_part_keep_their_names(tmp_path):
    with pytest.raises(ConfigError, match=r"not in the model: module\.proj\.bias"):
        load_model(
            peer_file(tmp_path / "a.pt", model={"proj.weight": torch.ones(2, 6), "module.proj.bias": torch.ones(2)})
        )


@pytest.fixture
def folder(tmp_path):
    convert(peer_file(tmp_path / "a.pt"), tmp_path / "hf", "hf")
    return tmp_path / "hf"


def test_a_safetensors_file_beside_its_config_loads_like_its_folder(folder):
    alone, whole = load_model(folder / "model.safetensors"), load_model(folder)
    assert torch.equal(alone.proj.weight, whole.proj.weight) and alone.signal == whole.signal


def test_a_safetensors_file_without_config_says_what_to_put_beside_it(folder):
    (folder / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"model\.safetensors holds weights alone; put the config\.json"):
        load_model(folder / "model.safetensors")


def test_wrapped_weights_of_a_folder_load(folder):
    from safetensors.torch import load_file, save_file

    save_file(wrapped(load_file(folder / "model.safetensors"), "_orig_mod."), folder / "model.safetensors")
    assert load_model(folder).proj.weight.shape == (2, 6)


def test_loading_leaves_no_weight_undrawn(tmp_path):
    """Weights are not drawn while a model is built that is filled; all of them come from the file."""
    weights = {"proj.weight": torch.full((2, 6), 3.0), "proj.bias": torch.full((2,), 4.0)}
    model = load_model(peer_file(tmp_path / "a.pt", model=weights))
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())


class Busy(Probe):
    """Builds as many layers in another thread as no file could describe."""

    def __init__(self, cfg):
        super().__init__(cfg)
        other = threading.Thread(target=lambda: nn.Sequential(*(nn.ReLU() for _ in range(3000))))
        other.start()
        other.join()


def test_what_another_thread_builds_is_not_counted(tmp_path):
    register_model("busy_probe", dataclass=ProbeConfig)(Busy)
    assert load_model(peer_file(tmp_path / "a.pt", cfg={"model": {"_name": "busy_probe", "dim": 6}})).cfg.dim == 6


def test_parts_that_a_hugging_face_cache_keeps_elsewhere_load(folder, tmp_path):
    """A snapshot in the hub's cache is a folder of links to ../../blobs."""
    blobs, snapshot = tmp_path / "m" / "blobs", tmp_path / "m" / "snapshots" / "1"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "part.safetensors"}}))
    for number, file in enumerate(
        sorted(path for path in folder.iterdir() if path.suffix in (".json", ".safetensors"))
    ):
        file.rename(blobs / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    assert load_model(snapshot).proj.weight.shape == (2, 6)


@pytest.mark.parametrize(
    "state",
    [
        {"optimizer_history": [[1]]},
        {"extra_state": {"train_iterator": 3}},
        {"optimizer_history": [{"num_updates": "x"}]},
    ],
)
def test_a_training_state_of_another_form_is_one_error_that_names_the_file(tmp_path, state):
    file = peer_file(tmp_path / "a.pt", **state)
    with pytest.raises(ConfigError, match=r"a\.pt"):
        unpack_state(file, CheckpointConfig())
