"""The files of ST-MEM's project: read by content, converted and back, as they were."""

import json

import numpy as np
import pytest
import torch

import ecg_signals
from ecg_signals import load_model
from ecg_signals.checkpoint.convert import convert
from ecg_signals.config import ConfigError
from ecg_signals.interop.st_mem.contract import contract_of, st_mem
from ecg_signals.interop.st_mem.names import to_state
from ecg_signals.metrics.logits import CLASSES, LABELS
from ecg_signals.registry import build
from ecg_signals.signal.leads import LEADS

NAMES = ("st_mem", "mtae", "mlae")
same = torch.testing.assert_close


def stored(golden, name, file):
    return torch.load(golden / f"st_mem/{name}_tiny/{file}.pth", weights_only=True)


@pytest.fixture
def with_head(golden, tmp_path):
    """A `best-loss.pth` as the project's downstream script writes it."""

    def write(name, **config):
        content, head = stored(golden, name, "encoder"), stored(golden, name, "head")["head"]
        prefix = {"st_mem": "st_mem_vit_base", "mtae": "vit_base", "mlae": "mlae_vit_base"}[name]
        content["config"] |= {"model_name": prefix, **config}
        content["config"]["model"] = {**content["config"]["model"], "num_classes": 5}
        content |= {"model": {**content["model"], **head}, "metrics": {"loss": 1.5}}
        torch.save(content, tmp_path / f"{name}.pth")
        return tmp_path / f"{name}.pth"

    return write


@pytest.mark.parametrize("file", ["init", "checkpoint-0", "encoder"])
@pytest.mark.parametrize("name", NAMES)
def test_a_file_becomes_any_layout_and_again_what_it_was(name, file, golden, tmp_path):
    path = golden / f"st_mem/{name}_tiny/{file}.pth"
    convert(path, tmp_path / "folder", "hf")
    convert(tmp_path / "folder", tmp_path / "a.pt", "fairseq")
    convert(tmp_path / "a.pt", tmp_path / "back.pth", "original")
    convert(path, tmp_path / "same.pth", "original")
    before = stored(golden, name, file)
    for other in ("back", "same"):
        after = torch.load(tmp_path / f"{other}.pth", weights_only=True)
        assert list(after) == ["epoch", "model", "optimizer", "scaler", "config"]
        assert list(after["model"]) == list(before["model"])
        assert all(torch.equal(after["model"][key], value) for key, value in before["model"].items())
        assert set(before.get("config", {}).get("model", {})) <= set(after["config"]["model"])
    if file == "checkpoint-0":
        assert after["optimizer"]["param_groups"] == before["optimizer"]["param_groups"]
        assert {**after["config"], "ecg_signals": 0} == {**before["config"], "ecg_signals": 0}
    model = load_model(tmp_path / "back.pth")
    assert model.cfg._name == name and model.signal == st_mem(300) and model.cfg.decoder == (file != "encoder")


@pytest.mark.parametrize("name", NAMES)
def test_transformers_gives_the_same_features(name, golden, tmp_path):
    from transformers import AutoModel

    from ecg_signals.hf import EcgSignalsModel

    path = golden / f"st_mem/{name}_tiny/checkpoint-0.pth"
    convert(path, tmp_path / "folder", "hf")
    source = torch.from_numpy(np.load(golden / f"st_mem/{name}_tiny/forward.npz")["series"])
    with torch.no_grad():
        model = AutoModel.from_pretrained(tmp_path / "folder").eval()
        found = model(source)
        expected = load_model(path)(source)
    assert isinstance(model, EcgSignalsModel)
    same(found.last_hidden_state, expected["features"], atol=1e-6, rtol=1e-6)
    same(found.pooler_output, expected["pooled"], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_with_a_head_is_a_classifier_and_crops_are_averaged(name, golden, with_head, tmp_path):
    path = with_head(name, loss="cross_entropy")
    model = load_model(path)
    expected = {key: torch.from_numpy(value) for key, value in np.load(
        golden / f"st_mem/{name}_tiny/downstream.npz").items() if value.dtype.kind in "fi"}  # fmt: skip
    with torch.no_grad():
        logits = model(expected["crops"].flatten(0, 1))["logits"].unflatten(0, (2, 3))
    same(logits, expected["logits_per_crop"], atol=1e-5, rtol=1e-5)
    same(logits.mean(1), expected["logits_mean"], atol=1e-5, rtol=1e-5)
    same(model.probabilities(logits).mean(1), expected["probs_mean"], atol=1e-5, rtol=1e-5)
    assert model.logit_kind == CLASSES
    other = load_model(with_head(name, loss={"name": "bce"}))
    assert other.logit_kind == LABELS
    same(other.probabilities(logits).mean(1), expected["sigmoid_mean"], atol=1e-5, rtol=1e-5)
    before = torch.load(path, weights_only=True)
    for source, to in ((path, "hf"), (tmp_path / "hf", "original"), (path, "original")):
        convert(source, tmp_path / to, to)
        again = load_model(tmp_path / to)
        assert all(torch.equal(value, model.state_dict()[key]) for key, value in again.state_dict().items())
    after = torch.load(tmp_path / "original", weights_only=True)
    assert list(after["model"]) == list(before["model"]) and after["metrics"] == {"loss": 1.5}


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_an_update_of_a_head_equals_the_projects(name, frozen, golden, with_head, tmp_path):
    expected = {key: torch.from_numpy(value) for key, value in np.load(
        golden / f"st_mem/{name}_tiny/downstream.npz").items() if value.dtype.kind in "fi"}  # fmt: skip
    encoder = golden / f"st_mem/{name}_tiny/encoder.pth"
    model = build("model", "classifier", model_path=str(encoder), encoder={"train_positions": True}, pool="own",
                  num_labels=5, freeze_encoder=frozen)  # fmt: skip
    head = stored(golden, name, "head")["head"]
    model.proj.load_state_dict({key.removeprefix("head."): value for key, value in head.items()})
    groups = model.param_groups(None)
    assert len(groups) == 1 and len(groups[0]["params"]) == (2 if frozen else len(list(model.parameters())))
    optimizer = torch.optim.AdamW(groups, lr=1e-3, weight_decay=0.05)
    source = expected["crops"][:, 1]
    loss = torch.nn.functional.cross_entropy(model.train()(source)["logits"], expected["targets"])
    loss.backward()
    optimizer.step()
    mode = "linprobe" if frozen else "finetune"
    same(loss.detach(), expected[f"{mode}_step_loss"], atol=1e-5, rtol=1e-5)
    same(model.proj.weight, expected[f"{mode}_head_weight_after"], atol=1e-5, rtol=1e-5)
    same(model.encoder.pos_embedding, expected[f"{mode}_pos_embedding_after"], atol=1e-5, rtol=1e-5)
    same(model.encoder.norm.weight, expected[f"{mode}_norm_weight_after"], atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        same(model.eval()(source)["logits"], expected[f"{mode}_logits_after"], atol=1e-4, rtol=1e-4)


def test_the_input_is_what_the_config_trains_on(golden, tmp_path):
    content = stored(golden, "mtae", "checkpoint-0")
    content["config"]["dataset"] |= {"fs": 100, "train_transforms": [
        {"lowpass_filter": {"fs": 100, "cutoff": 30, "order": 3}}, {"random_crop": {"crop_length": 300}},
        {"standardize": {"axis": [-1]}}, {"rlm": None},
    ]}  # fmt: skip
    torch.save(content, tmp_path / "a.pth")
    contract = load_model(tmp_path / "a.pth").signal
    assert contract.sample_rate == 100 and contract.zero_missing_leads
    assert contract.steps == [
        {"name": "resample", "method": "fourier"}, {"name": "low_pass", "cutoff": 30.0, "order": 3},
        {"name": "window"}, {"name": "standardise", "jointly": False},
    ]  # fmt: skip


def test_transforms_without_options_and_filters_designed_for_another_rate_are_what_they_do():
    """A filter for 500 Hz has half of its cutoff at 250 Hz."""
    named = [{"highpass_filter": {"fs": 500, "cutoff": 1.0}}, {"random_crop": {"crop_length": 300}}, "standardize"]
    found = contract_of({"dataset": {"fs": 250, "train_transforms": named}}, 300, LEADS).steps
    assert found[1:] == [
        {"name": "high_pass", "cutoff": 0.5}, {"name": "window"}, {"name": "standardise", "jointly": True},
    ]  # fmt: skip


def test_a_model_of_one_lead_is_of_the_lead_that_its_config_loads(golden, tmp_path):
    content = stored(golden, "st_mem", "encoder")
    content["model"] = {key: value for key, value in content["model"].items() if key[:16] != "lead_embeddings."}
    content["model"]["lead_embeddings.0"] = torch.ones(16)
    for lead, name in (("lead2", "II"), ("lead1", "I"), ("12lead", "I")):
        content["config"]["dataset"]["lead"] = lead
        torch.save(content, tmp_path / "a.pth")
        assert load_model(tmp_path / "a.pth").signal.leads == [name]


def test_what_does_not_tell_its_model_or_contradicts_itself_is_refused(golden, tmp_path):
    weights = stored(golden, "mtae", "init")["model"]
    torch.save({"model": weights}, tmp_path / "a.pth")
    with pytest.raises(ConfigError, match=r"no config that tells them apart; add config=\{'model_name'"):
        load_model(tmp_path / "a.pth")
    torch.save(weights, tmp_path / "mlae.pth")  # nothing but weights
    assert load_model(tmp_path / "mlae.pth").cfg._name == "mlae"
    limb = build("model", "mlae", seq_len=50, leads=list(LEADS[:6]), embed_dim=16, depth=1, num_heads=1, decoder=False)
    torch.save(to_state(limb.state_dict()), tmp_path / "six.pth")  # 50 values are none of twelve leads
    assert load_model(tmp_path / "six.pth").cfg.leads == list(LEADS[:6])
    other = {**weights, "to_patch_embedding.2.weight": weights["to_patch_embedding.2.weight"] + 1}
    torch.save({"model": other}, tmp_path / "mtae.pth")
    with pytest.raises(ConfigError, match=r"to_patch_embedding\.2\.weight is not encoder\.to_patch_embedding"):
        load_model(tmp_path / "mtae.pth")
    for missing, message in (
        ("encoder.norm.bias", "missing in the file: norm.bias"),
        ("extra", "not in the model: ex"),
    ):
        state = {key: value for key, value in weights.items() if key != missing}
        state |= {"extra": torch.ones(1)} if missing == "extra" else {}
        torch.save({"model": state, "config": {"model_name": "mtae_vit_base_dec256d4b"}}, tmp_path / "b.pth")
        with pytest.raises(ConfigError, match=message):
            load_model(tmp_path / "b.pth")


def test_one_ratio_gives_the_perceptrons_of_encoder_and_decoder_their_widths(tmp_path):
    """2.3 times 16 and 30: 36 values alone would be 2.25, and the decoder's 67 instead of 69."""
    sizes = {"seq_len": 40, "patch_size": 10, "embed_dim": 16, "depth": 1, "num_heads": 1, "mlp_ratio": 2.3}
    model = build("model", "st_mem", **sizes, decoder_embed_dim=30, decoder_depth=1, decoder_num_heads=1)
    torch.save({"model": to_state(model.state_dict())}, tmp_path / "a.pth")
    found = load_model(tmp_path / "a.pth").state_dict()
    assert all(torch.equal(found[key], value) for key, value in model.state_dict().items())


def test_only_a_head_that_the_project_has_is_written_in_its_layout(with_head, tmp_path):
    from ecg_signals.interop.layout import ModelSource, get_layout, layout_of

    encoder = {"_name": "st_mem", "seq_len": 40, "patch_size": 10, "embed_dim": 16, "depth": 1, "num_heads": 1}
    for pool, bias in (("own", True), ("own", False)):
        model = build("model", "classifier", encoder=encoder, num_labels=2, no_pretrained_weights=True, pool=pool,
                      head_bias=bias)  # fmt: skip
        assert (layout_of("classifier", model.cfg.to_dict()) is not None) == bias
    model = build("model", "classifier", encoder=encoder, num_labels=2, no_pretrained_weights=True, pool="mean")
    options = {key: value for key, value in model.cfg.to_dict().items() if key != "_name"}
    source = ModelSource("classifier", options, model.state_dict())
    get_layout("ecg_signals").save(source, tmp_path / "a.pt")
    with pytest.raises(ConfigError, match="no other project publishes the model 'classifier'"):
        convert(tmp_path / "a.pt", tmp_path / "b.pth", "original")


def test_the_shipped_evaluation_input_is_prepared_from_any_record(golden):
    json.dumps(load_model(golden / "st_mem/st_mem_tiny/encoder.pth").signal.to_dict())
    record = ecg_signals.read_record(next((golden.parent / "data/ptbxl_500").rglob("*.hea")))
    model = load_model(golden / "st_mem/st_mem_tiny/encoder.pth")
    source = model.signal.prepare(record)
    assert source.shape[1:] == (12, 300) and torch.isfinite(model(source)["features"]).all()
