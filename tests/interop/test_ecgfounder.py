"""ECGFounder: its files, its arithmetic and its input, against the published program's."""

import json

import numpy as np
import pytest
import torch

import ecg_signals
from ecg_signals import load_model
from ecg_signals.checkpoint.convert import convert
from ecg_signals.cli import predict
from ecg_signals.comparison.models import distinct, find_model
from ecg_signals.config import UsageError
from ecg_signals.interop.ecgfounder.contract import ecgfounder
from ecg_signals.interop.ecgfounder.names import to_state
from ecg_signals.metrics.logits import LABELS
from ecg_signals.registry import build
from ecg_signals.signal.steps.base import make_step

FILE = "ecgfounder/checkpoint.pth"


@pytest.fixture(scope="module")
def published(golden):
    return {key: torch.from_numpy(value) for name in ("inputs", "outputs")
            for key, value in np.load(golden / f"ecgfounder/{name}.npz").items()}  # fmt: skip


def same(found, expected, tolerance=1e-5):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def test_features_and_logits_equal_the_programs(golden, published):
    model = load_model(golden / FILE)
    with torch.no_grad():
        found = model.extract_features(published["source"], layers="all")
    same(found["features"].transpose(1, 2), published["features"])
    same(found["pooled"], published["pooled"])
    same(found["logits"], published["logits"])
    for place, name in enumerate(("stem", "stage_0_0", "stage_1_0", "stage_2_0", "stage_3_0")):
        same(found["hidden_states"][place][0].T, published[name])


def test_one_step_of_training_equals_the_programs(golden, published):
    model = load_model(golden / FILE).train()
    optimizer = torch.optim.Adam(model.param_groups(None), lr=1e-3)
    logits = model(published["source"])["logits"]
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, published["label"])
    loss.backward()
    same(logits, published["train_logits"])
    same(loss.double(), published["train_loss"])
    grads = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    expected = {key.removeprefix("grad/"): value for key, value in published.items() if key.startswith("grad/")}
    found = to_state(grads)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert (found[key] - value).abs().max() <= 1e-4 * value.abs().max() + 1e-9, key
    optimizer.step()
    with torch.no_grad():
        same(model.eval()(published["source"])["logits"], published["logits_after_step"])


def test_a_raw_record_is_prepared_as_the_program_does(data, golden, published):
    record = ecg_signals.read_record(data / f"ptbxl_500/records500/00000/{int(published['ptbxl_ids'][0]):05d}_hr")
    model = load_model(golden / FILE)
    found = model.signal.prepare(record)
    assert found.shape == (1, 12, 5000)
    torch.testing.assert_close(found[0, :, 600:1000], published["prepared_first"], rtol=0, atol=5e-7)
    with torch.no_grad():
        logits = model(found[:, :, 700:1700])["logits"]
    same(logits[0], published["logits"][0])
    mean, std = published["prepared_mean_std"].tolist()
    torch.testing.assert_close(found[0, :, 600:1000] * std + mean, published["filtered_first"], rtol=0, atol=1e-6)


def test_the_comparisons_input_is_asked_for_by_name(data, golden):
    model = load_model(golden / FILE, signal="fmb")
    record = ecg_signals.read_record(data / "ptbxl_500/records500/00000/00001_hr")
    found = model.signal.prepare(record)
    assert found.shape == (4, 12, 1250)
    torch.testing.assert_close(found[1], torch.from_numpy(record.signal[:, 1250:2500]).float())
    with pytest.raises(UsageError, match=r"did you mean 'fmb'.*There are: fmb, published"):
        load_model(golden / FILE, signal="fbm")


@pytest.mark.parametrize("leads", [12, 1])
def test_the_published_sizes_have_the_published_keys_and_counts(leads, golden):
    with torch.device("meta"):
        model = build("model", "classifier", encoder={"_name": "net1d", "in_d": leads}, pool="own", num_labels=150,
                      no_pretrained_weights=True)  # fmt: skip
    counts = json.loads((golden / "ecgfounder/param_counts.json").read_text())
    assert sum(value.numel() for value in model.parameters()) == counts[f"{leads}_lead"]
    if leads == 12:
        keys = json.loads((golden / "ecgfounder/state_dict_12_lead.json").read_text())
        found = to_state(model.state_dict())
        assert {key: list(value.shape) for key, value in found.items()} == keys and list(found) == list(keys)
        assert model(torch.empty(1, 12, 5000, device="meta"))["features"].shape == (1, counts["frames_of_5000"], 1024)


def test_a_file_becomes_any_layout_and_again_what_it_was(golden, tmp_path):
    before = torch.load(golden / FILE, weights_only=True)
    for source, dest, to in (("", "folder", "hf"), ("folder", "a.pt", "fairseq"), ("a.pt", "b.pth", "original"),
                             ("", "c.pth", "original")):  # fmt: skip
        convert(tmp_path / source if source else golden / FILE, tmp_path / dest, to)
        assert load_model(tmp_path / dest).signal == load_model(golden / FILE).signal
    for name in ("b.pth", "c.pth"):
        after = torch.load(tmp_path / name, weights_only=True)["state_dict"]
        assert list(after) == list(before["state_dict"])
        assert all(torch.equal(after[key], value) for key, value in before["state_dict"].items())
    assert torch.load(tmp_path / "c.pth", weights_only=True)["epoch"] == before["epoch"]


def test_a_file_of_150_statements_predicts_them_by_the_projects_list(data, tmp_path, capsys):
    encoder = {"_name": "net1d", "in_d": 1, "base_dim": 16, "dims": [16], "blocks": [1]}
    model = build("model", "classifier", encoder=encoder, pool="own", num_labels=150, no_pretrained_weights=True)
    torch.save({"state_dict": to_state(model.state_dict()), "epoch": 1}, tmp_path / "1_lead_ECGFounder.pth")
    (tmp_path / "tasks.txt").write_text("\n".join(f"STATEMENT {place}" for place in range(150)))
    loaded = load_model(tmp_path / "1_lead_ECGFounder.pth")
    assert loaded.signal.leads == ["I"] and loaded.logit_kind == LABELS and loaded.labels is None
    record = str(data / "ptbxl_500/records500/00000/00001_hr")
    words = [record, "--model", str(tmp_path / "1_lead_ECGFounder.pth"), "--json"]
    for more, name in (([], "label_7"), (["--labels", str(tmp_path / "tasks.txt")], "STATEMENT 7")):
        assert predict.predict(predict.parser().parse_args([*words, *more])) == 0
        found = json.loads(capsys.readouterr().out)[0]["probabilities"]
        assert len(found) == 150 and 0 < found[name] < 1


@pytest.mark.parametrize("options", [
    {"ratio": 0.5, "dims": [8, 32, 48], "group_width": 4}, {"ratio": 2.0, "dims": [8, 16, 16], "group_width": 16},
    {"ratio": 0.75, "dims": [8, 16, 24], "group_width": 6}, {"ratio": 1 / 3, "dims": [9, 15, 27], "group_width": 1},
    {"ratio": 1.0, "dims": [16, 24, 40], "group_width": 16},
])  # fmt: skip
def test_weights_tell_the_widths_inside_blocks_and_their_groups(options, tmp_path):
    torch.manual_seed(0)
    model = build("model", "net1d", base_dim=8, blocks=[1, 2, 1], **options).eval()
    torch.save({"state_dict": to_state(model.state_dict())}, tmp_path / "narrow.pth")
    found, source = load_model(tmp_path / "narrow.pth"), torch.randn(2, 12, 300)
    with torch.no_grad():
        assert torch.equal(found(source)["pooled"], model(source)["pooled"])


def test_a_record_of_twice_the_rate_gives_every_second_sample_as_in_the_program():
    resample = make_step(ecgfounder().steps[1])
    record = np.random.default_rng(0).standard_normal((2, 2001))
    found, rate = resample(record, 1000.0, 500.0)
    assert rate == 500 and np.array_equal(found, record[:, ::2])
    found, _ = resample(record, 250.0, 500.0)
    line = np.interp(np.linspace(0, 2000, 4002), np.arange(2001), record[0])
    np.testing.assert_allclose(found[0], line, atol=1e-12)


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("samples", [997, 400, 31])
def test_an_item_is_the_same_alone_and_beside_a_longer_one(batch_norm, samples):
    torch.manual_seed(0)
    model = build("model", "net1d", in_d=3, base_dim=8, dims=[8, 16, 16], blocks=[1, 2, 1], group_width=4,
                  ratio=0.5, batch_norm=batch_norm).eval()  # fmt: skip
    source = torch.randn(2, 3, 1000)
    padding = torch.arange(1000).expand(2, -1) >= torch.tensor([[samples], [1000]])
    with torch.no_grad():
        both, alone = model(source, padding), model(source[:1, :, :samples])
    same(both["pooled"][:1], alone["pooled"])
    frames = alone["features"].shape[1]
    same(both["features"][:1, :frames], alone["features"])
    assert not both["padding_mask"][0, :frames].any() and both["padding_mask"][0, frames:].all()
    idle = [name for name, value in model.named_parameters() if not value.requires_grad]
    assert bool(idle) and all("bn" in name for name in idle) and (len(idle) == 2) == batch_norm


def test_rates_go_by_groups_of_stages():
    encoder = {"_name": "net1d", "base_dim": 16, "dims": [16] * 7, "blocks": [1] * 7}
    model = build("model", "classifier", encoder=encoder, num_labels=3, layer_decay=0.1, layer_groups=[4],
                  no_pretrained_weights=True)  # fmt: skip
    rates = {name: model.lr_scale(name, None) for name, value in model.named_parameters() if value.requires_grad}
    expected = {
        "encoder.first_conv.weight": 0.01, "encoder.stages.2.0.conv1.weight": 0.01,
        "encoder.stages.3.0.conv1.weight": 0.1, "encoder.stages.6.0.se_fc2.bias": 0.1, "proj.weight": 1.0,
    }  # fmt: skip
    assert {name: pytest.approx(rates[name]) for name in expected} == expected
    assert sorted(round(group["lr_scale"], 6) for group in model.param_groups(None)) == [0.01, 0.1, 1.0]


def test_a_comparison_takes_the_same_file_with_either_input(golden):
    path = golden / FILE
    models = [find_model(str(path), lambda _: None), find_model(f"{path} signal=fmb", lambda _: None)]
    assert [model.contract.window_samples for model in models] == [5000, 1250]
    assert models[0].file == models[1].file and models[0].name != models[1].name
    assert distinct(models) == models
    with pytest.raises(UsageError, match="did you mean 'fmb'"):
        find_model(f"{path} signal=fbm", lambda _: None)
