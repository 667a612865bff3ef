"""Conversions between layouts: bit-exact both ways, safe to load, and back in the peer's key tree."""

import json
import sys

import pytest
import torch

from ecg_signals import load_model
from ecg_signals.checkpoint.convert import convert
from ecg_signals.checkpoint.load import load_source
from ecg_signals.checkpoint.read import read_checkpoint
from ecg_signals.cli.convert import main
from ecg_signals.config import ConfigError

FILES = [
    "wcr/w2v_cmsc/checkpoint.pt",
    "wcr/w2v/checkpoint.pt",
    "wcr/clf/checkpoint.pt",
    "wcr/arcface/checkpoint.pt",
    "wcr/contrastive/checkpoint.pt",
    "wcr/ckpt_variants/w2v_cmsc_omegaconf20_weightg.pt",
    "wcr/ckpt_variants/clf_numpy1_meters.pt",
    "wcr/other_models/convnet.pt",
    "wcr/other_models/nejedly.pt",
    "wcr/other_models/nejedly_leadwise.pt",
    "wcr/other_models/se_wrn.pt",
    "fairseq_signals_trained/checkpoint_2_3.pt",
    "fairseq_signals_trained/finetune/checkpoint_last.pt",
    "hubert_ecg/checkpoints/hubert_1_iteration_9_run0.pt",
    "hubert_ecg/checkpoints/legacy_hubertconfig_weight_gv.pt",
    "hubert_ecg/checkpoints/finetune_linear.pt",
    "hubert_ecg/checkpoints/finetune_mlp.pt",
    "hubert_ecg/checkpoints/finetune_emb.pt",
    "hubert_ecg/checkpoints/pretrain_hf",
    "hubert_ecg/checkpoints/finetune_linear_hf",
]


def outputs(source):
    model = load_model(source)
    generator = torch.Generator().manual_seed(0)
    shape = (2, len(model.signal.leads), model.signal.window_samples)
    if getattr(model.cfg, "in_d", getattr(model.cfg, "input_dim", 12)) == 1:
        shape = (2, 12, shape[2])
    with torch.no_grad():
        found = model(torch.randn(shape, generator=generator))
    return model, {key: value for key, value in found.items() if isinstance(value, torch.Tensor)}


@pytest.mark.parametrize("file", FILES)
def test_a_checkpoint_survives_the_way_through_every_layout_bit_by_bit(golden, tmp_path, file):
    convert(golden / file, tmp_path / "folder", "hf")
    convert(tmp_path / "folder", tmp_path / "original.pt", "original")
    convert(tmp_path / "original.pt", tmp_path / "fairseq.pt", "fairseq")
    model, wanted = outputs(golden / file)
    for name in ("folder", "original.pt", "fairseq.pt"):
        again, found = outputs(tmp_path / name)
        assert again.cfg.to_dict() == model.cfg.to_dict()
        assert again.signal == model.signal and again.labels == model.labels
        assert found.keys() == wanted.keys() and all(torch.equal(found[key], wanted[key]) for key in wanted)
        if name.endswith(".pt"):
            torch.load(tmp_path / name, weights_only=True)


def tree(value):
    return {key: tree(item) for key, item in value.items()} if isinstance(value, dict) else type(value).__name__


def test_a_file_converted_back_has_the_key_tree_of_fairseq_signals(golden, tmp_path):
    file = golden / "fairseq_signals_trained" / "finetune" / "checkpoint_last.pt"
    convert(file, tmp_path / "folder", "hf")
    convert(tmp_path / "folder", tmp_path / "back.pt", "original")
    raw, back = read_checkpoint(file), read_checkpoint(tmp_path / "back.pt")
    assert list(back) == [key for key in raw if key != "last_optimizer_state"]
    assert tree(back["cfg"]) == tree(raw["cfg"]) and list(back["model"]) == list(raw["model"])
    assert set(back["extra_state"]) == {"metrics", "previous_training_time", "train_iterator", "val_loss"}


def test_a_file_converted_back_has_the_key_tree_of_hubert_ecg(golden, tmp_path):
    file = golden / "hubert_ecg" / "checkpoints" / "finetune_mlp.pt"
    convert(file, tmp_path / "folder", "hf")
    convert(tmp_path / "folder", tmp_path / "back.pt", "original")
    raw, back = read_checkpoint(file), read_checkpoint(tmp_path / "back.pt")
    training = {"optimizer_state_dict", "lr_scheduler_state_dict", "best_val_loss"}
    assert {key for key in raw if not key.startswith("target_val")} - training <= set(back)
    assert set(back["model_state_dict"]) == set(raw["model_state_dict"])


def test_conversion_to_fairseq_keeps_a_training_state_and_drops_validation_scores(golden, tmp_path):
    file = golden / "fairseq_signals_trained" / "finetune" / "checkpoint_last.pt"
    convert(file, tmp_path / "clean.pt", "fairseq")
    raw, clean = read_checkpoint(file), torch.load(tmp_path / "clean.pt", weights_only=True)
    assert clean["optimizer_history"] == raw["optimizer_history"] and clean["extra_state"]["metrics"] == {}
    for index, moments in raw["last_optimizer_state"]["state"].items():
        assert torch.equal(clean["last_optimizer_state"]["state"][index]["exp_avg"], moments["exp_avg"])


def test_a_folder_holds_labels_contract_and_a_model_card(golden, tmp_path):
    source = load_source(golden / "wcr" / "clf" / "checkpoint.pt")
    raw = dict(source.raw)
    raw["extra_state"] = {
        **raw["extra_state"],
        "ecg_signals": {"options": source.cfg, "labels": list("abcdefgh"), "signal": source.signal.to_dict()},
    }
    raw["extra_state"]["metrics"] = {}
    torch.save(raw, tmp_path / "a.pt")
    convert(tmp_path / "a.pt", tmp_path / "folder", "hf")
    config = json.loads((tmp_path / "folder" / "config.json").read_text())
    assert config["model_type"] == "ecg_signals" and config["id2label"]["7"] == "h"
    assert config["ecg_signals"]["signal"]["sample_rate"] == 500
    card = (tmp_path / "folder" / "README.md").read_text()
    assert "2500 samples (5 s) at 500 Hz" in card and "a, b, c, d, e, f, g, h" in card and "load_model" in card
    assert load_model(tmp_path / "folder").labels == list("abcdefgh")


def test_plain_transformers_reads_the_weights_of_a_hubert_ecg_folder(golden, tmp_path):
    pytest.importorskip("transformers")
    from transformers import HubertConfig, HubertModel

    file = golden / "hubert_ecg" / "checkpoints" / "hubert_1_iteration_9_run0.pt"
    convert(file, tmp_path / "folder", "hf")
    config = json.loads((tmp_path / "folder" / "config.json").read_text())
    config = HubertConfig(**{key: value for key, value in config.items() if key not in ("model_type", "auto_map")})
    theirs = HubertModel.from_pretrained(tmp_path / "folder", config=config).eval()
    _, wanted = outputs(file)
    source = torch.randn((2, 12, 500), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = theirs(source.flatten(1)).last_hidden_state
    torch.testing.assert_close(found, wanted["features"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"no Hugging Face folder: it has no config\.json \(it holds nothing"),
        ({"config.json": "{"}, "is not JSON"),
        ({"config.json": "{}"}, r"no weights; put model\.safetensors"),
        ({"config.json": "{}", "model.safetensors": "123"}, "cannot be read as safetensors"),
    ],
)
def test_a_folder_that_is_none_is_named(tmp_path, files, message):
    (tmp_path / "folder").mkdir()
    for name, content in files.items():
        (tmp_path / "folder" / name).write_text(content)
    with pytest.raises(ConfigError, match=message):
        load_model(tmp_path / "folder")


def test_the_folder_of_a_run_is_told_its_own_file(tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "checkpoint_last.pt").touch()
    with pytest.raises(ConfigError, match=r"such as .*run/checkpoints/checkpoint_last\.pt"):
        load_model(tmp_path / "run")


def test_a_foreign_folder_lists_the_layouts(tmp_path):
    from safetensors.torch import save_file

    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "config.json").write_text('{"model_type": "bert"}')
    save_file({"w": torch.zeros(2)}, tmp_path / "folder" / "model.safetensors")
    with pytest.raises(ConfigError, match=r"no model that is known here.*HuBERT-ECG Hugging Face folder"):
        load_model(tmp_path / "folder")


def ecg_convert(*arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ecg-convert", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
        raise SystemExit(0)
    return ended.value.code


def test_the_command_says_what_it_wrote_and_ends_with_the_right_status(golden, tmp_path, monkeypatch, capsys):
    file = golden / "wcr" / "clf" / "checkpoint.pt"
    assert ecg_convert(file, tmp_path / "folder", "--to", "hf", monkeypatch=monkeypatch) == 0
    assert "folder: ecg_transformer_classifier, 35,032 weights" in capsys.readouterr().out
    assert ecg_convert("nowhere.pt", tmp_path / "folder", "--to", "hf", monkeypatch=monkeypatch) == 1
    assert "error: nowhere.pt does not exist" in capsys.readouterr().err
    assert ecg_convert("nowhere.pt", tmp_path / "folder", "--to", "onnx", monkeypatch=monkeypatch) == 2


@pytest.mark.parametrize("file, to, left", [
    ("ours.pt", "original", True),
    ("ours.pt", "hf", True),
    ("ours.pt", "fairseq", False),
    ("hubert_ecg/checkpoints/finetune_mlp.pt", "original", False),
    ("hubert_ecg/checkpoints/finetune_mlp.pt", "fairseq", True),
    ("fairseq_signals_trained/finetune/checkpoint_last.pt", "fairseq", False),
    ("fairseq_signals_trained/finetune/checkpoint_last.pt", "original", False),
    ("wcr/other_models/convnet.pt", "hf", False),
])  # fmt: skip
def test_an_optimizers_state_that_stays_behind_is_said(golden, tmp_path, monkeypatch, capsys, file, to, left):
    source = golden / file
    if file == "ours.pt":  # as a run of ours leaves it
        source = tmp_path / file
        convert(golden / "hubert_ecg" / "checkpoints" / "finetune_mlp.pt", source, "fairseq")
        state = {**torch.load(source, weights_only=True), "last_optimizer_state": {"state": {}, "param_groups": []}}
        torch.save(state, source)
    assert ecg_convert(source, tmp_path / "out", "--to", to, monkeypatch=monkeypatch) == 0
    said = capsys.readouterr().out
    assert (f"to resume training keep {source}" in said) == left == ("the optimizer's state" in said)
    if to != "hf":
        written = torch.load(tmp_path / "out", weights_only=True)
        stored = read_checkpoint(source)
        keys = ("last_optimizer_state", "optimizer_state_dict")
        assert any(stored.get(key) for key in keys) == (left or any(written.get(key) for key in keys))


def test_a_place_that_cannot_be_written_is_told_before_anything_is_read(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot write .*file is a file, not a folder\. .* Choose another DEST"):
        convert(tmp_path / "nothing.pt", tmp_path / "file" / "out.pt", "fairseq")


def test_a_padding_mask_of_other_samples_than_the_source_is_refused(golden):
    model = load_model(golden / "fairseq_signals_trained" / "finetune" / "checkpoint_last.pt")
    source = torch.randn(2, 12, 2500)
    for shape in ((2, 2500), (2, 12, 2500)):
        model(source, padding_mask=torch.zeros(shape, dtype=torch.bool))
    for shape in ((2, 2400), (1, 2500), (2, 3, 2500), (2500,)):
        with pytest.raises(ConfigError, match=r"padding_mask has the shape .*source \[2, 12, 2500\]"):
            model(source, padding_mask=torch.zeros(shape, dtype=torch.bool))
