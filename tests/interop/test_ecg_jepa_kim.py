"""Kim's ECG-JEPA: its files, features and pretraining, against the published program's."""

import json

import numpy as np
import pytest
import torch

import ecg_signals
from ecg_signals import load_model
from ecg_signals.checkpoint.convert import convert
from ecg_signals.config import ConfigError
from ecg_signals.interop.ecg_jepa_kim.contract import EIGHT, ecg_jepa_kim
from ecg_signals.interop.ecg_jepa_kim.names import from_state, to_state
from ecg_signals.models.encoders.cropa_vit import lead_and_time
from ecg_signals.registry import build
from ecg_signals.signal.leads import LEADS


@pytest.fixture(scope="module")
def published(golden):
    return {key: torch.from_numpy(value) for name in ("inputs", "outputs")
            for key, value in np.load(golden / f"ecg_jepa_kim/{name}.npz").items()}  # fmt: skip


def same(found, expected, tolerance=1e-5):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def test_features_of_a_published_file_equal_the_programs(golden, published):
    model = load_model(golden / "ecg_jepa_kim/epoch100.pth")
    assert model.cfg._name == "cropa_vit" and model.cfg.num_heads == 3 and model.signal == ecg_jepa_kim()
    with torch.no_grad():
        found = model(published["source"])
        same(found["features"][0], published["features_0"])
        same(found["pooled"], published["representation"])
        places = published["leads"].tolist()
        model.signal.leads = [EIGHT[place] for place in places]
        same(model(published["source"][:, places])["pooled"], published["representation_leads"])
        shuffled = torch.randperm(8)
        model.signal.leads = [EIGHT[place] for place in shuffled]
        same(model(published["source"][:, shuffled])["pooled"], published["representation"])
        model.signal.leads = list(EIGHT)
        with pytest.raises(ConfigError, match=r"has 2 leads, .* an input contract of 8"):
            model(published["source"][:, :2])
    torch.testing.assert_close(model.pos_embed.data, lead_and_time(8, 50, 24), rtol=0, atol=1e-7)


def test_the_encoder_of_a_whole_model_is_the_one_that_is_published(golden, published, tmp_path):
    """It learns; the target encoder only follows it."""
    whole = golden / "ecg_jepa_kim/full.pth"
    with torch.no_grad():
        same(load_model(whole)(published["source"])["pooled"], published["representation"])
    convert(whole, tmp_path / "encoder.pth", "original", minify=True)
    after, before = (torch.load(path, weights_only=True)["encoder"]
                     for path in (tmp_path / "encoder.pth", golden / "ecg_jepa_kim/epoch100.pth"))  # fmt: skip
    assert list(after) == list(before) and all(torch.equal(after[key], value) for key, value in before.items())


def test_a_step_of_pretraining_equals_the_programs(golden, published):
    model = load_model(golden / "ecg_jepa_kim/full.pth")
    assert model.cfg._name == "cropa_jepa" and model.cfg.pred_num_heads == 2
    mask = published["mask"]
    net_input = {"source": published["source"], "mask_encoder": (~mask).nonzero()[:, 0],
                 "mask_predictor": mask.nonzero()[:, 0]}  # fmt: skip
    criterion = build("criterion", "jepa", distance="smooth_l1")
    found = criterion(model, {"net_input": net_input})
    loss = found.loss / found.sample_size
    same(loss.double(), published["loss"])
    loss.backward()
    expected = {key.removeprefix("grad/"): value for key, value in published.items() if key.startswith("grad/")}
    grads = to_state({name: value.grad for name, value in model.named_parameters() if value.grad is not None})
    assert grads.keys() == expected.keys()
    for key, value in expected.items():
        assert (grads[key] - value).abs().max() <= 1e-5 * value.abs().max() + 1e-9, key


def test_a_raw_record_is_prepared_as_the_program_does(data, published):
    for row, number in enumerate(published["ptbxl_ids"].tolist()):
        record = ecg_signals.read_record(data / f"ptbxl_500/records500/00000/{number:05d}_hr")
        same(ecg_jepa_kim().prepare(record)[0], published["source"][row], 1e-6)


@pytest.mark.parametrize("file", ["epoch100", "full"])
def test_a_file_becomes_any_layout_and_again_what_it_was(file, golden, tmp_path):
    path = golden / f"ecg_jepa_kim/{file}.pth"
    before = torch.load(path, weights_only=True)
    (key,) = before.keys() - {"epoch"}
    for source, dest, to in (("", "folder", "hf"), ("folder", "a.pt", "fairseq"), ("a.pt", "b.pth", "original"),
                             ("", "c.pth", "original")):  # fmt: skip
        convert(tmp_path / source if source else path, tmp_path / dest, to)
        assert load_model(tmp_path / dest).cfg.to_dict() == load_model(path).cfg.to_dict()
    for name in ("b.pth", "c.pth"):
        after = torch.load(tmp_path / name, weights_only=True)[key]
        assert list(after) == list(before[key])
        assert all(torch.equal(after[name], value) for name, value in before[key].items())


def test_the_published_size_has_the_published_keys_and_counts(golden):
    counts = json.loads((golden / "ecg_jepa_kim/param_counts.json").read_text())
    with torch.device("meta"):
        model = build("model", "cropa_jepa")
    encoder = list(model.encoder.parameters())
    assert sum(value.numel() for value in encoder) == counts["encoder_all"]
    assert sum(value.numel() for value in encoder if value.requires_grad) == counts["encoder_trainable"]
    assert sum(value.numel() for value in model.predictor.parameters()) == counts["predictor"]
    keys = json.loads((golden / "ecg_jepa_kim/state_dict_encoder.json").read_text())
    found = to_state(model.encoder.state_dict())
    assert {key: list(value.shape) for key, value in found.items()} == keys and list(found) == list(keys)
    assert from_state(found).keys() == model.encoder.state_dict().keys()


@pytest.mark.parametrize("kind", ["block", "random"])
def test_masks_have_the_published_shares_and_are_the_same_in_all_leads(kind):
    torch.manual_seed(0)
    model = build("model", "cropa_jepa", dim=8, depth=1, num_heads=2, pred_dim=4, pred_depth=1, pred_num_heads=2,
                  mask_type=kind)  # fmt: skip
    drawn = [model.draw(50) for _ in range(300)]
    counts = torch.stack(drawn).sum(dim=1)
    if kind == "random":
        assert counts.min() == 30 and counts.max() == 34  # int(50 r), r from 0.6 to 0.7
    else:
        runs = [(mask[1:] & ~mask[:-1]).sum() + mask[0].long() for mask in drawn]
        assert min(runs) >= 1 and max(runs) <= 4 and counts.min() >= 8 and counts.max() <= 44
    for patches in (2, 3, 5):
        assert all(0 < model.draw(patches).sum() < patches for _ in range(50))
    output = model(torch.randn(2, 8, 2500), mask=True)
    assert output["predicted"].shape == output["target"].shape
    told = output["mask_predictor"][0].unflatten(0, (8, -1))
    assert (told - told[:1] == 50 * torch.arange(8)[:, None]).all()
    target = output["target"].detach()
    same(target.mean(dim=-1), torch.zeros(target.shape[:2]))


def test_the_target_follows_as_published_and_never_trains():
    model = build("model", "cropa_jepa", dim=8, depth=1, num_heads=2, pred_dim=4, pred_depth=1, pred_num_heads=2,
                  max_update=100)  # fmt: skip
    assert [model.momentum(step) for step in (0, 50, 100, 120)] == pytest.approx([0.996, 0.998, 1.0, 1.0])
    before = model.target_encoder.norm.weight.clone()
    with torch.no_grad():
        model.encoder.norm.weight.add_(1.0)
    model.after_update(0)
    same(model.target_encoder.norm.weight, before + 0.004)
    decayed, rest = model.param_groups(None)
    assert rest["weight_decay"] == 0 and all(value.dim() > 1 for value in decayed["params"])
    frozen = {id(value) for value in model.target_encoder.parameters()} | {id(model.encoder.pos_embed)}
    assert not frozen & {id(value) for group in (decayed, rest) for value in group["params"]}


@pytest.mark.parametrize("samples", [777, 120])
def test_an_item_is_the_same_alone_and_beside_a_longer_one(samples):
    torch.manual_seed(0)
    model = build("model", "cropa_vit", leads=["II", "V1", "V5"], patches=20, dim=8, depth=2, num_heads=2).eval()
    source = torch.randn(2, 3, 1000)
    padding = torch.arange(1000).expand(2, -1) >= torch.tensor([[samples // 50 * 50], [1000]])
    with torch.no_grad():
        both, alone = model(source, padding), model(source[:1, :, :samples])
    same(both["pooled"][:1], alone["pooled"])
    with pytest.raises(ConfigError, match="source has 1050 samples; the model takes 50 to 1000"):
        model(torch.randn(1, 3, 1050))


@pytest.mark.parametrize("leads", [["I"], list(EIGHT), list(LEADS)])
def test_positions_tell_how_many_leads_a_file_is_for(leads, tmp_path):
    model = build("model", "cropa_jepa", leads=leads, patches=30, patch_size=20, dim=16, depth=1, num_heads=2,
                  pred_dim=4, pred_depth=1, pred_num_heads=2)  # fmt: skip
    model.target_encoder.pos_embed.data.mul_(1 + 1e-7)  # what averages round off
    torch.save({"model": to_state(model.state_dict())}, tmp_path / "full.pth")
    found = load_model(tmp_path / "full.pth")
    assert (found.cfg.leads, found.cfg.patches) == (leads, 30) and found.signal.window_samples == 600


def test_it_is_told_from_the_other_ecg_jepa(golden):
    assert load_model(golden / "ecg_jepa_kim/full.pth").cfg._name == "cropa_jepa"
    file = next((golden / "jepa").glob("*/init.pt"))
    assert load_model(file).cfg._name == "jepa"
