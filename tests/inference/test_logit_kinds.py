"""The criterion says what a model's logits are; whoever reads them asks, instead of knowing names."""

import json
import math
import types

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ecg_signals import load_model
from ecg_signals.checkpoint.convert import convert
from ecg_signals.checkpoint.state import Moment, Trained, pack_state
from ecg_signals.checkpoint.write import write_checkpoint
from ecg_signals.composition import resolve_config
from ecg_signals.config import ConfigError
from ecg_signals.criteria.mse import MSECriterion
from ecg_signals.evaluation.evaluator import Evaluator
from ecg_signals.evaluation.table import task_of
from ecg_signals.inference.predict import Predictor
from ecg_signals.metrics.logits import joined_logits, labels_and_values, probabilities_of
from ecg_signals.registry import REGISTRIES, build, get_entry, register_criterion
from ecg_signals.runtime.placement import Placement
from ecg_signals.signal.record import Record
from ecg_signals.signal.segments import segment_contract

KINDS = {
    "binary_cross_entropy": "labels",
    "binary_cross_entropy_with_logits": "labels",
    "multi_label": "labels",
    "multi_head_binary_cross_entropy": "labels",
    "cross_entropy": "classes",
    "multi_class": "classes",
    "mse": "values",
    "arcface": "cosines",
    "labels_and_values": "labels+1",
}
UNKNOWN = r"logit_kind.*labels, classes, values, cosines"
PRETRAINING = {
    "3kg", "byol", "clocs", "cmsc", "cpc", "hubert_pretraining", "jepa", "m3ae", "mae", "medvill", "merl", "moco",
    "moco_v3", "simclr", "swav", "wav2vec2", "wav2vec2_with_cmsc",
}  # fmt: skip


def test_every_criterion_says_what_its_logits_are():
    named = {name: get_entry("criterion", name).cls.logits_of({}) for name in register_criterion.names()}
    assert {name: kind for name, kind in named.items() if kind} == KINDS
    assert {name for name, kind in named.items() if not kind} == PRETRAINING | {"composite_criterion"}


def test_a_composite_says_what_its_parts_agree_on():
    says = get_entry("criterion", "composite_criterion").cls.logits_of
    assert says({"criterion_names": ["cross_entropy", "multi_class"]}) == "classes"
    assert says({"criterion_names": ["cross_entropy", "mse"]}) is None


def test_windows_of_labels_and_values_are_joined_each_in_their_way():
    logits = torch.tensor([[0.0, 2.0, 10.0], [1.0, -2.0, 20.0]])
    kind = labels_and_values(1)
    for rules in ("mean", ["mean", "mean", "mean"]):
        joined = probabilities_of(joined_logits(logits, rules, kind), kind)
        expected = [*logits[:, :2].sigmoid().mean(dim=0).tolist(), 15.0]
        torch.testing.assert_close(joined, torch.tensor(expected))
    longest = probabilities_of(joined_logits(logits, ["max", "mean", "mean"], kind), kind)
    assert float(longest[0]) == pytest.approx(1 / (1 + math.exp(-1))) and float(longest[2]) == 15
    model = types.SimpleNamespace(logit_kind=kind)
    with pytest.raises(ConfigError, match=r"answers labels and values together \(labels\+1\)"):
        task_of(model, None, [])


@pytest.fixture
def saved(classification, tmp_path):
    """A function: criterion -> a checkpoint of a model trained with it."""

    def save(criterion, **model):
        recipe = {**classification, "model": {**classification["model"], **model}, "criterion": {"_name": criterion}}
        config = resolve_config(recipe)
        network = build(
            "model", config.model._name, **{k: v for k, v in config.model.to_dict().items() if k != "_name"}
        )
        network.signal = segment_contract()
        made = get_entry("criterion", criterion).cls(config.criterion)
        optimizer = torch.optim.Adam(network.parameters())
        schedule = get_entry("lr_scheduler", "fixed").cls(config.lr_scheduler)
        trained = Trained(network, made, optimizer, schedule)
        moment = Moment(1, 1, 1, val_loss=None, best=None, training_time=0.0)
        state = pack_state(config, trained, moment, trained.states())
        write_checkpoint(tmp_path / f"{criterion}.pt", state)
        return tmp_path / f"{criterion}.pt"

    return save


def record():
    signal = np.random.default_rng(0).normal(size=(12, 5000)).astype(np.float32)
    return Record(signal, 500.0, ["I", "II", "III", "aVR", "aVL", "aVF", *(f"V{i}" for i in range(1, 7))])


@pytest.mark.parametrize("criterion", ["multi_class", "cross_entropy", "multi_label", "mse"])
def test_predictions_are_what_the_criterion_says_also_through_every_layout(saved, tmp_path, criterion):
    path = saved(criterion)
    convert(path, tmp_path / "folder", "hf")
    convert(tmp_path / "folder", tmp_path / "original.pt", "original")
    convert(tmp_path / "folder", tmp_path / "fairseq.pt", "fairseq")
    for source in (path, tmp_path / "folder", tmp_path / "original.pt", tmp_path / "fairseq.pt"):
        model = load_model(source)
        assert model.logit_kind == KINDS[criterion]
        windows = Predictor(source).windows(record())
        with torch.no_grad():
            logits = model(model.signal.prepare(record()))["logits"]
        wanted = {"labels": logits.sigmoid(), "classes": logits.softmax(-1), "values": logits}[KINDS[criterion]]
        torch.testing.assert_close(torch.from_numpy(windows), wanted, rtol=1e-4, atol=1e-5)
    config = json.loads((tmp_path / "folder" / "config.json").read_text())
    problems = {
        "labels": "multi_label_classification",
        "classes": "single_label_classification",
        "values": "regression",
    }
    assert config["problem_type"] == problems[KINDS[criterion]]


@pytest.mark.parametrize("kind", ["ranks", "Labels", 3, ["labels"], {"a": 1}, "x" * 10_000])
def test_a_kind_that_is_not_known_is_one_error_that_lists_them(saved, tmp_path, kind):
    path, folder = saved("cross_entropy"), tmp_path / "folder"
    convert(path, folder, "hf")
    state = torch.load(path, weights_only=True)
    state["extra_state"]["ecg_signals"]["logit_kind"] = kind
    torch.save(state, path)
    config = json.loads((folder / "config.json").read_text())
    config["ecg_signals"]["logit_kind"] = kind
    (folder / "config.json").write_text(json.dumps(config))
    for source in (path, folder):
        for read in (load_model, Predictor, lambda source: convert(source, tmp_path / "out.pt", "fairseq")):
            with pytest.raises(ConfigError, match=UNKNOWN) as error:
                read(source)
            assert str(source) in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 600


@pytest.mark.parametrize("kind", ["ranks", ["labels"]])
def test_a_kind_that_is_not_known_is_the_same_error_for_transformers(saved, tmp_path, kind):
    transformers = pytest.importorskip("transformers")
    import ecg_signals.hf

    convert(saved("cross_entropy"), tmp_path / "folder", "hf")
    config = json.loads((tmp_path / "folder" / "config.json").read_text())
    config["ecg_signals"]["logit_kind"] = kind
    (tmp_path / "folder" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=UNKNOWN):
        transformers.AutoModel.from_pretrained(tmp_path / "folder")
    with pytest.raises(ConfigError, match=UNKNOWN):
        ecg_signals.hf.EcgSignalsModel(transformers.AutoConfig.from_pretrained(tmp_path / "folder"))


def test_a_criterion_with_a_kind_of_its_own_is_refused_before_anything_is_trained():
    criterion = type("Ranked", (MSECriterion,), {"logits": "ranks"})
    with pytest.raises(ConfigError, match=r"Ranked\.logits is 'ranks'; set it to None or labels, classes"):
        criterion(get_entry("criterion", "mse").dataclass())


def test_a_published_file_is_judged_by_its_criterion(golden):
    assert load_model(golden / "wcr" / "clf" / "checkpoint.pt").logit_kind == "labels"
    assert load_model(golden / "wcr" / "arcface" / "checkpoint.pt").logit_kind == "cosines"
    assert load_model(golden / "wcr" / "w2v" / "checkpoint.pt").logit_kind is None


def test_a_hubert_file_keeps_its_task_in_its_own_layout(tmp_path, golden):
    file = golden / "hubert_ecg" / "checkpoints" / "finetune_linear.pt"
    assert load_model(file).logit_kind is None  # the published scripts do not store it
    convert(file, tmp_path / "own.pt", "original")
    content = torch.load(tmp_path / "own.pt", weights_only=True)
    content["model_config"]["task_type"] = "multi_class"
    torch.save(content, tmp_path / "own.pt")
    convert(tmp_path / "own.pt", tmp_path / "folder", "hf")
    convert(tmp_path / "folder", tmp_path / "again.pt", "original")
    assert load_model(tmp_path / "again.pt").logit_kind == "classes"


def test_a_plugins_criterion_says_it_by_inheriting(saved):
    class Doubled(MSECriterion):
        logits = "values"

    register_criterion("doubled", dataclass=get_entry("criterion", "mse").dataclass)(Doubled)
    try:
        assert load_model(saved("doubled")).logit_kind == "values"
    finally:
        del REGISTRIES["criterion"].entries["doubled"]


def test_ecg_test_takes_the_task_from_the_model_and_refuses_another():
    model = build("model", "hubert_ecg_classifier", num_labels=3)
    assert task_of(model, None, said := []) == "multi_label" and len(said) == 1
    assert task_of(model, "regression", []) == "regression"
    model.logit_kind = "classes"
    assert task_of(model, None, []) == "multi_class"
    with pytest.raises(ConfigError, match="trained for multi_class"):
        task_of(model, "multi_label", [])


def test_validation_with_a_criterion_of_another_kind_is_an_error(saved, classification, tmp_path):
    convert(saved("cross_entropy"), tmp_path / "folder", "hf")
    config = json.loads((tmp_path / "folder" / "config.json").read_text())
    config["ecg_signals"]["cfg"] = {}
    (tmp_path / "folder" / "config.json").write_text(json.dumps(config))
    sections = {**classification, "common_eval": {"path": str(tmp_path / "folder")}}
    with pytest.raises(ConfigError, match="trained to give classes, but criterion binary_cross_entropy_with_logits"):
        Evaluator(sections, Placement())


def test_the_loss_of_the_hugging_face_classes_follows_the_model(saved, tmp_path):
    pytest.importorskip("transformers")
    from transformers import AutoModelForSequenceClassification

    import ecg_signals.hf  # noqa: F401

    convert(saved("multi_label"), tmp_path / "folder", "hf")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "folder")
    source, labels = torch.randn(2, 12, 2500), torch.tensor([[1, 0, 1], [0, 0, 1]])
    with torch.no_grad():
        found = model(source, labels=labels)
    torch.testing.assert_close(found.loss, F.binary_cross_entropy_with_logits(found.logits, labels.float()))
