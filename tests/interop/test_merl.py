"""MERL's ECG encoders: their files, sizes, features and input, against the published program's."""

import json

import numpy as np
import pytest
import torch
from rule_weights import drawn

import ecg_signals
from ecg_signals import load_model
from ecg_signals.checkpoint.convert import convert
from ecg_signals.config import ConfigError
from ecg_signals.interop.layout import ModelSource, get_layout
from ecg_signals.interop.merl.names import to_state
from ecg_signals.registry import build
from ecg_signals.signal.record import Record

GRADIENTS = {  # the tolerance of those that float32 rounds more, as float64 shows
    "proj_e.0.bias": 2e-4, "proj_e.3.bias": 2e-5,  # 0: a batch norm behind it takes it away. The file has 4e-5 and 3e-6
    "ecg_encoder.norm.bias": 1e-4,  # of 0.07: terms up to 3 nearly cancel. The file's is 2e-5 from that of float64
}  # fmt: skip
VITS = {"tiny": (192, 3), "small": (384, 6), "middle": (512, 8), "base": (768, 12)}


@pytest.fixture(scope="module")
def published(golden):
    return {key: torch.from_numpy(np.asarray(value)) for name in ("inputs", "outputs")
            for key, value in np.load(golden / f"merl/{name}.npz").items()}  # fmt: skip


@pytest.fixture(scope="module")
def whole(golden, tmp_path_factory):
    """A whole model's weights, as `*_ckpt.pth` holds them."""
    rule = json.loads((golden / "merl/resnet_weights.json").read_text())
    path = tmp_path_factory.mktemp("merl") / "res18_best_ckpt.pth"
    torch.save(drawn(rule["keys"], rule), path)
    return path


def same(found, expected, tolerance=1e-5):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def test_the_residual_encoder_of_a_whole_model_equals_the_programs(whole, published):
    model = load_model(whole).encoder
    assert model.cfg._name == "merl_resnet" and model.cfg.depth == 18
    with torch.no_grad():
        found = model(published["source"])
    same(found["features"][0, :20].T, published["resnet/map_0"])
    same(found["pooled"], published["resnet/pooled"])


@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_pretraining_beside_texts_equals_the_programs(kind, whole, golden, published):
    path = whole if kind == "resnet" else golden / "merl/vit.pt"
    model = load_model(path)
    assert model.cfg._name == "merl" and (model.cfg.out_dim, model.cfg.hidden_dim, model.cfg.text_dim) == (16, 12, 24)
    source = published["source"] if kind == "resnet" else published["source"][..., :600]
    net_input = {"source": source, "text_pooled": published["text_pooled"]}
    with torch.no_grad():
        found = model(**net_input)
    for key, ours in (("proj_ecg", "projected"), ("e1", "view_1"), ("e2", "view_2"), ("proj_text", "projected_text")):
        unit = torch.nn.functional.normalize(found[ours], dim=-1)
        same(unit, torch.nn.functional.normalize(published[f"{kind}/{key}"], dim=-1))
    model.train().view_dropout.p = 0.0
    told = build("criterion", "merl")(model, {"net_input": net_input})
    for key in ("cma", "uma"):
        same((told.logs[key] / told.sample_size).double(), published[f"{kind}/train_{key}"])
    (told.loss / told.sample_size).backward()
    layout = get_layout("merl")
    grads = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    found = layout.write(ModelSource("merl", {}, grads))
    expected = {key.split("/grad/")[1]: value for key, value in published.items() if key.startswith(f"{kind}/grad/")}
    for key, value in expected.items():
        assert (found[key] - value).abs().max() <= GRADIENTS.get(key, 1e-4 * value.abs().max()), key
    raw = torch.load(path, weights_only=True)
    raw = raw if kind == "resnet" else raw["clip"]
    written = layout.write(ModelSource("merl", {}, load_model(path).state_dict()))
    assert list(written) == list(raw) and all(torch.equal(written[key], value) for key, value in raw.items())


def test_the_vision_transformer_equals_the_programs(golden, published):
    model = load_model(golden / "merl/vit.pt")
    assert model.signal.window_samples == 600
    model = model.encoder
    assert model.cfg._name == "merl_vit" and (model.cfg.num_heads, model.cfg.head_dim) == (2, 12)
    with torch.no_grad():
        same(model(published["source"][..., :600])["pooled"], published["vit/pooled"])
    with pytest.raises(ConfigError, match="source has 650 samples; the model takes 50 to 600"):
        model(torch.zeros(1, 12, 650))


@pytest.mark.parametrize("depth", [18, 34, 50, 101])
def test_residual_encoders_have_the_published_sizes(depth, golden):
    with torch.device("meta"):
        model = build("model", "merl_resnet", depth=depth)
    counts = json.loads((golden / "merl/param_counts.json").read_text())
    assert sum(value.numel() for value in model.parameters()) == counts[f"resnet{depth}"]
    if depth == 18:
        keys = json.loads((golden / "merl/state_dict_resnet18.json").read_text())
        found = to_state(model.state_dict())
        assert {key: list(value.shape) for key, value in found.items()} == keys and list(found) == list(keys)
        assert model(torch.empty(1, 12, 5000, device="meta"))["features"].shape == (1, 313, 512)


@pytest.mark.parametrize("size", VITS)
def test_vision_transformers_have_the_published_sizes(size, golden):
    width, heads = VITS[size]
    with torch.device("meta"):
        model = build("model", "merl_vit", dim=width, num_heads=heads, mlp_dim=4 * width)
    counts = json.loads((golden / "merl/param_counts.json").read_text())
    assert sum(value.numel() for value in model.parameters()) == counts[f"vit_{size}"]
    if size == "tiny":
        keys = json.loads((golden / "merl/state_dict_vit_tiny.json").read_text())
        found = to_state(model.state_dict())
        assert {key: list(value.shape) for key, value in found.items()} == keys and list(found) == list(keys)


@pytest.mark.parametrize("name, options", [
    ("merl_resnet", {"depth": 18, "width": 4}), ("merl_resnet", {"depth": 34, "width": 2, "unused_classes": 0}),
    ("merl_resnet", {"depth": 50, "width": 2}), ("merl_resnet", {"depth": 101, "width": 2, "in_d": 3}),
    ("merl_vit", {"dim": 64, "depth": 2, "num_heads": 1, "mlp_dim": 32, "patches": 7, "patch_size": 20}),
])  # fmt: skip
def test_bare_weights_of_an_encoder_say_what_it_is(name, options, tmp_path):
    torch.manual_seed(0)
    model = build("model", name, **options).eval()
    before = to_state(model.state_dict())
    torch.save(before, tmp_path / "best_encoder.pth")
    for source, dest, to in (("best_encoder.pth", "folder", "hf"), ("folder", "a.pt", "fairseq"),
                             ("a.pt", "back.pth", "original")):  # fmt: skip
        convert(tmp_path / source, tmp_path / dest, to)
        found = load_model(tmp_path / dest)
        assert found.cfg.to_dict() == load_model(tmp_path / "best_encoder.pth").cfg.to_dict()
    after = torch.load(tmp_path / "back.pth", weights_only=True)
    assert list(after) == list(before) and all(torch.equal(after[key], value) for key, value in before.items())
    source = torch.randn(2, model.cfg.in_d, 133)
    with torch.no_grad():
        assert torch.equal(found(source)["pooled"], model(source)["pooled"])
        padding = torch.arange(140).expand(2, -1) >= 120
        padded = torch.cat([source[..., :120], torch.zeros(2, model.cfg.in_d, 20)], dim=-1)
        same(model(padded, padding)["pooled"], model(source[..., :120])["pooled"])


def test_a_raw_record_is_prepared_as_the_program_does(data, whole):
    record = ecg_signals.read_record(data / "ptbxl_500/records500/00000/00001_hr")
    model = load_model(whole)
    found = model.signal.prepare(record)[0]
    assert model.signal.leads[3:6] == ["aVR", "aVF", "aVL"] and found.shape == (12, 5000)
    raw = torch.from_numpy(record.signal)[[0, 1, 2, 3, 5, 4, 6, 7, 8, 9, 10, 11]].double()
    same(found.double(), (raw - raw.min()) / (raw.max() - raw.min() + 1e-8), 1e-6)
    half = Record(record.signal[:, :2500], 500.0, record.leads)  # as the program's CPSC 2018
    with pytest.warns(UserWarning, match="filled up with zeros"):
        short = model.signal.prepare(half)[0]
    filled = torch.cat([raw[:, :2500], torch.zeros(12, 2500).double()], dim=1)
    same(short.double(), (filled - filled.min()) / (filled.max() - filled.min() + 1e-8), 1e-6)
    long = Record(np.concatenate([record.signal, 3 * record.signal], axis=1), 500.0, record.leads)
    same(model.signal.prepare(long)[1], found, 1e-6)  # each window by itself
    other = load_model(whole, signal="fmb")
    assert other.signal.leads[3:6] == ["aVR", "aVL", "aVF"] and other.signal.prepare(record).shape == (4, 12, 1250)
