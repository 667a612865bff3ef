"""Where weights come from stands beside every prediction: terms of published weights, and how little a toy has seen."""

import json

import numpy as np
import pytest
import torch

from ecg_signals import load_model
from ecg_signals.checkpoint.convert import convert
from ecg_signals.checkpoint.origin import FEW_RECORDS, notes, read_origin
from ecg_signals.composition import resolve_config
from ecg_signals.inference.predict import Predictor, as_dict, as_text
from ecg_signals.interop.hubert_ecg.names import to_checkpoint
from ecg_signals.registry import build
from ecg_signals.trainer import Trainer

TERMS = "weights: CC BY-NC 4.0, not for commercial use"
HUBERT = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 16,
    "conv_dim": [8, 8, 8, 8, 8],
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
}


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    path = tmp_path_factory.mktemp("record") / "ecg.csv"
    signal = 0.5 * np.random.default_rng(0).normal(size=(5000, 12))
    header = "I,II,III,aVR,aVL,aVF,V1,V2,V3,V4,V5,V6"
    np.savetxt(path, signal, delimiter=",", header=header, comments="")
    return path


def published(path, name, **options):
    """A `.pt` in HuBERT-ECG's published layout, without anything of ours in it."""
    model = build("model", name, **HUBERT, **options)
    options = {key: value for key, value in model.cfg.to_dict().items() if key != "_name"}
    torch.save(to_checkpoint(name, options, model.state_dict()), path)
    return path


def said(model, record):
    prediction = Predictor(model).predict(record, sample_rate=500, force=True)  # noise
    assert prediction.error is None
    assert as_dict(prediction)["notes"] == prediction.notes and json.dumps(as_dict(prediction))
    assert [line for line in as_text([prediction] * 2).split("\n") if line.startswith("note:")] == [
        f"note: {note}" for note in prediction.notes
    ]
    return prediction.notes


@pytest.mark.parametrize("to", ["hf", "original", "fairseq"])
def test_the_terms_of_published_weights_survive_every_conversion(tmp_path, record, to):
    source = published(tmp_path / "published.pt", "hubert_ecg_classifier", num_labels=2)
    assert said(source, record) == [TERMS]
    convert(source, tmp_path / "converted", to)
    assert said(tmp_path / "converted", record) == [TERMS]
    if to == "hf":
        card = (tmp_path / "converted" / "README.md").read_text()
        assert card.startswith("---\nlicense: cc-by-nc-4.0\n") and "Weights: CC BY-NC 4.0, not for commercial" in card


def test_what_is_fine_tuned_from_published_weights_keeps_their_terms(tmp_path):
    source = published(tmp_path / "published.pt", "hubert_ecg", vocab_sizes=[5])
    model = build("model", "hubert_ecg_classifier", model_path=str(source), num_labels=2)
    assert model.origin == {"licence": "CC BY-NC 4.0"}


def test_a_model_trained_on_few_records_says_how_many(classification, sample, tmp_path, record):
    sections = {**classification, "checkpoint": {**classification["checkpoint"], "save_dir": str(tmp_path / "run")}}
    trainer = Trainer(resolve_config(sections))
    trainer.train()
    files = [trainer.task.load_dataset("train").open(a).idx for a in _addresses(trainer)]
    found = said(tmp_path / "run" / "checkpoint_last.pt", record)
    assert found == [f"toy model trained on {len(set(files))} records: not for use on patients"]
    convert(tmp_path / "run" / "checkpoint_last.pt", tmp_path / "hf", "hf")
    assert load_model(tmp_path / "hf").origin == {"records": len(set(files))}
    assert f"**Toy model trained on {len(set(files))} records" in (tmp_path / "hf" / "README.md").read_text()


def _addresses(trainer):
    manifest = trainer.task.load_dataset("train").manifest
    return [manifest.addresses(row)[0] for row in range(len(manifest))]


def test_a_model_that_saw_many_records_or_does_not_tell_has_no_note():
    assert notes({}) == [] and notes({"records": FEW_RECORDS}) == []
    assert notes({"records": 1}) == ["toy model trained on 1 record: not for use on patients"]
    assert notes({"licence": "MIT"}) == ["weights: MIT"]
    assert read_origin({"licence": ["x"], "records": 3, "more": 1}) == {"records": 3} and read_origin("x") == {}
