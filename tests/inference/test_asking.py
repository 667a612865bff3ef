"""A question to a model that reads texts, asked of records."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from text_material import write_vocabulary

from ecg_signals import load_model, read_record
from ecg_signals.config import ConfigError, UsageError
from ecg_signals.inference.asking import Question
from ecg_signals.inference.predict import Predictor
from ecg_signals.registry import build

SMALL = yaml.safe_load((Path(__file__).parents[1] / "contract/small.yaml").read_text())["model"]
ASKED = "Does this ECG show noise?"


def checkpoint(path, name, **more):
    torch.manual_seed(0)
    model = build("model", name, **{**SMALL[name]["options"], **more})
    torch.save({"cfg": {"model": {**model.cfg.to_dict(), "_name": name}}, "model": model.state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("asking")
    write_vocabulary(folder)
    checkpoint(folder / "reads.pt", "ecg_language_transformer_classifier", sep_token=3, empty_text=[2, 3])
    checkpoint(folder / "deaf.pt", "deaf_transformer_qa")
    np.save(folder / "one.npy", np.random.default_rng(0).normal(size=(12, 5000)).cumsum(axis=1) / 50)
    return folder


def answer(folder, question):
    predictor = Predictor(folder / "reads.pt", published=True, question=question)
    found = predictor.predict(folder / "one.npy", force=True, sample_rate=500)
    return found, list(found.probabilities.values())


def by_hand(folder, **more):
    model = load_model(folder / "reads.pt")
    source = model.signal.prepare(read_record(folder / "one.npy", sample_rate=500))
    text = torch.tensor([[2, 5, 6, 7, 8, 9, 10, 3]])[:, :6].clone()  # as in training, two tokens fewer than the most
    text[0, -1] = 3
    with torch.no_grad():
        logits = model(source, text=text.expand(len(source), -1), **more)["logits"]
    return logits.sigmoid().mean(dim=0).tolist()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_record_is_asked_as_in_training(folder):
    found, values = answer(folder, Question(ASKED, folder / "vocab.txt"))
    assert values == pytest.approx(by_hand(folder), abs=1e-5)
    assert found.notes[0] == f"asked: {ASKED}" and len(found.windows) == 2


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_second_record_stands_beside_every_window(folder, data):
    place = sorted((data / "ptbxl_500/records500").rglob("*.hea"))[0]
    _, values = answer(folder, Question(ASKED, folder / "vocab.txt", place))
    prepared = load_model(folder / "reads.pt").signal.prepare(read_record(place))[:1]
    assert values == pytest.approx(by_hand(folder, ecg_2=prepared.expand(2, -1, -1)), abs=1e-5)
    assert values != pytest.approx(by_hand(folder), abs=1e-5)


def test_questions_that_cannot_be_asked_say_why(folder):
    with pytest.raises(UsageError, match=r"--tokenizer FOLDER_OR_FILE"):
        Predictor(folder / "reads.pt", question=Question(ASKED))
    with pytest.raises(UsageError, match="'deaf_transformer_qa' reads no question"):
        Predictor(folder / "deaf.pt", question=Question(ASKED, folder / "vocab.txt"))
    other = checkpoint(folder / "other.pt", "ecg_language_transformer_classifier", num_ecgs=1)
    with pytest.raises(ConfigError, match=r"sep_token=2, but that is 3"):
        Predictor(other, question=Question(ASKED, folder / "vocab.txt"))
    with pytest.raises(UsageError, match="reads one ECG"):
        Predictor(other, question=Question(second=folder / "one.npy"))
    with pytest.warns(UserWarning, match="none was asked"):
        Predictor(folder / "reads.pt")
