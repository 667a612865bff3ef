"""ECG-CPC: its files, features and loss, against the published program's."""

import json

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

import ecg_signals
from ecg_signals import load_model
from ecg_signals.checkpoint.convert import convert
from ecg_signals.config import ConfigError
from ecg_signals.interop.ecg_cpc.names import to_state
from ecg_signals.registry import build
from ecg_signals.signal.millivolt import millivolt

FILE = "ecg_cpc/cpc.ckpt"
PUBLISHED = {"conv_dim": [512] * 4, "conv_kernel": [3, 1, 1, 1], "conv_stride": [2, 1, 1, 1], "context": "s4",
             "context_proj": False, "num_layers": 4, "frames": 1200}  # fmt: skip


@pytest.fixture(scope="module")
def published(golden):
    return {key: torch.from_numpy(np.asarray(value)) for name in ("inputs", "outputs")
            for key, value in np.load(golden / f"ecg_cpc/{name}.npz").items()}  # fmt: skip


def same(found, expected, tolerance=1e-4):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def test_features_loss_and_gradients_equal_the_programs(golden, published):
    model = load_model(golden / FILE)
    assert model.cfg._name == "cpc" and model.cfg.conv_stride == [2, 1] and model.signal == millivolt(240, 10)
    found = model(published["source"])
    for key in ("encoded", "features", "pooled"):
        same(found[key], published[key])
    options = {"steps_predicted": 14, "negatives_per_frame": 20, "negatives": "sequence"}
    criterion = build("criterion", "cpc", **options)
    told = criterion(model, {"net_input": {"source": published["source"], "neg_draws": published["draws"]}})
    loss = told.loss / told.sample_size
    same(loss.double(), published["loss"])
    same((told.logs["correct"] / told.logs["count"]).double(), published["acc"])
    loss.backward()
    expected = {key.removeprefix("grad/"): value for key, value in published.items() if key.startswith("grad/")}
    found = to_state({name: value.grad for name, value in model.named_parameters()}, 120)
    for key, value in expected.items():
        assert (found[key].reshape(value.shape) - value).abs().max() <= 1e-4 * value.abs().max() + 1e-8, key


def test_a_file_becomes_any_layout_and_again_what_it_was(golden, tmp_path):
    before = torch.load(golden / FILE, weights_only=True)
    for source, dest, to in (("", "folder", "hf"), ("folder", "a.pt", "fairseq"), ("a.pt", "b.ckpt", "original"),
                             ("", "c.ckpt", "original")):  # fmt: skip
        convert(tmp_path / source if source else golden / FILE, tmp_path / dest, to)
        assert load_model(tmp_path / dest).cfg.to_dict() == load_model(golden / FILE).cfg.to_dict()
    for name in ("b.ckpt", "c.ckpt"):
        after = torch.load(tmp_path / name, weights_only=True)["state_dict"]
        assert list(after) == list(before["state_dict"])
        assert all(torch.equal(after[key], value) for key, value in before["state_dict"].items())
    convert(golden / FILE, tmp_path / "encoder", "hf", minify=True)
    assert load_model(tmp_path / "encoder").cfg._name == "fc_lstm"


def test_the_published_size_has_the_published_keys_and_counts(golden):
    with torch.device("meta"):
        model = build("model", "cpc", **PUBLISHED)
    counts = json.loads((golden / "ecg_cpc/param_counts.json").read_text())
    trained = sum(value.numel() for value in model.parameters())
    assert trained == counts["trainable"] == counts["params_with_head"]
    assert sum(value.numel() for value in model.layers.parameters()) == counts["encoder"]
    assert sum(value.numel() for value in model.context.parameters()) == counts["predictor"]
    keys = json.loads((golden / "ecg_cpc/state_dict.json").read_text())
    with torch.device("meta"):
        found = to_state(model.state_dict(), 1200)
    assert {key: [list(value.shape), str(value.dtype)] for key, value in found.items()} == keys
    assert list(found) == list(keys)


@pytest.mark.parametrize("frames", [64, 97, 300])
def test_a_lightning_file_of_any_length_is_read_without_running_it(frames, tmp_path):
    torch.manual_seed(0)
    options = {**PUBLISHED, "conv_dim": [8] * 4, "hidden_dim": 8, "num_layers": 2, "state_dim": 4, "frames": frames}
    model = build("model", "fc_lstm", **options).eval()
    content = {"state_dict": to_state(model.state_dict(), frames), "epoch": 1, "pytorch-lightning_version": "2.4.0",
               "hyper_parameters": OmegaConf.create({"base": {"fs": 240}}), "loops": {}, "callbacks": {}}  # fmt: skip
    torch.save(content, tmp_path / "last.ckpt")
    found = load_model(tmp_path / "last.ckpt")
    assert found.cfg._name == "fc_lstm" and found.cfg.frames == frames
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in found.state_dict().items())
    source = torch.randn(2, 12, 499)
    with torch.no_grad():
        assert torch.equal(found(source)["features"], model(source)["features"])
    assert model(source)["features"].shape == (2, 250, 8)
    content["state_dict"][next(key for key in content["state_dict"] if key.endswith("omega"))].zero_()
    torch.save(content, tmp_path / "damaged.ckpt")
    with pytest.raises(ConfigError, match="does not hold roots of unity"):
        load_model(tmp_path / "damaged.ckpt")


def test_the_comparisons_windows_are_a_quarter_as_long(data, golden):
    record = ecg_signals.read_record(data / "ptbxl_500/records500/00000/00001_hr")
    assert load_model(golden / FILE).signal.prepare(record).shape == (1, 12, 2400)
    assert load_model(golden / FILE, signal="fmb").signal.prepare(record).shape == (4, 12, 600)


def test_rates_of_fine_tuning_are_the_comparisons():
    encoder = {"_name": "fc_lstm", **PUBLISHED, "conv_dim": [8] * 4, "hidden_dim": 8, "num_layers": 1}
    model = build("model", "classifier", encoder=encoder, num_labels=3, layer_decay=0.1, no_pretrained_weights=True)
    expected = {"encoder.layers.0.0.weight": 0.01, "encoder.context.norms.0.weight": 0.1, "proj.weight": 1.0}
    assert {name: pytest.approx(model.lr_scale(name, None)) for name in expected} == expected
