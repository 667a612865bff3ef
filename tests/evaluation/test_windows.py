"""Items cut into windows at validation, test and prediction, and the answers to them joined."""

import json

import numpy as np
import pytest
import torch
from scipy.io import loadmat
from torch import nn

from ecg_signals import load_model
from ecg_signals.composition import resolve_config
from ecg_signals.config import ConfigError
from ecg_signals.evaluation.evaluator import Evaluator
from ecg_signals.evaluation.windows import Windowed
from ecg_signals.inference.predict import Predictor
from ecg_signals.metrics.logits import CLASSES, LABELS, VALUES, joined_items, joined_logits
from ecg_signals.metrics.ranking import ranking_metrics
from ecg_signals.models.base import ModelOutput
from ecg_signals.runtime.placement import Placement
from ecg_signals.signal.record import Record
from ecg_signals.signal.steps.base import make_step
from ecg_signals.signal.windows import Cutting
from ecg_signals.trainer import Trainer

RULES = ("mean", "max", "mean_logits")


class Sums(nn.Module):
    """Two logits: the sum of lead I, and the number of samples that are not padding."""

    def forward(self, source, padding_mask=None):
        seen = torch.full((len(source),), source.shape[-1]) if padding_mask is None else (~padding_mask[:, 0]).sum(1)
        return ModelOutput(logits=torch.stack([source[:, 0].sum(-1), seen.float()], dim=1))


def test_windows_start_at_every_stride_or_are_spread_evenly():
    assert Cutting(1250, 625).starts(5000) == [625 * number for number in range(7)]
    assert Cutting(4, 3).starts(12) == [0, 3, 6] and Cutting(4).starts(12) == [0, 4, 8]
    assert Cutting(2250, count=3).starts(2500) == [0, 125, 250]
    assert Cutting(2250, count=3).starts(2253) == [0, 1, 3] and Cutting(2250, count=3).starts(2251) == [0, 1]
    assert Cutting(9, 2).starts(9) == Cutting(9, 2).starts(5) == [0] and Cutting(2, count=1).starts(9) == [0]


@pytest.mark.parametrize("kind", [LABELS, CLASSES, VALUES])
def test_joined_logits_give_the_joined_probabilities(kind):
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(1)) * 3
    to = {LABELS: torch.sigmoid, CLASSES: lambda x: x.softmax(-1), VALUES: lambda x: x}[kind]
    highest = to(logits).amax(0)
    highest = highest / highest.sum() if kind == CLASSES else highest
    wanted = {"mean": to(logits).mean(0), "max": highest, "mean_logits": to(logits.mean(0))}
    for rule in RULES:
        torch.testing.assert_close(to(joined_logits(logits, rule, kind)), wanted[rule])
    mixed = joined_logits(logits, ["mean", "max", "mean_logits"], LABELS)
    assert mixed.tolist() == [joined_logits(logits, rule, LABELS)[k].item() for k, rule in enumerate(RULES)]


@pytest.mark.parametrize("kind", [LABELS, CLASSES, VALUES])
def test_items_are_joined_together_as_they_are_one_by_one(kind):
    draw = torch.Generator().manual_seed(2)
    items = [torch.randn(count, 4, generator=draw) for count in (3, 1, 7, 3, 7, 3)]
    for rules in (*RULES, ["mean", "max", "mean_logits", "mean"]):
        apart = torch.stack([joined_logits(item, rules, kind) for item in items])
        torch.testing.assert_close(joined_items(items, rules, kind), apart, rtol=1e-7, atol=1e-7)


def test_certain_answers_do_not_saturate():
    assert joined_logits(torch.tensor([[200.0], [210.0]]), "mean", LABELS).item() == pytest.approx(200.69, abs=0.01)


def test_an_item_that_is_shorter_than_a_window_is_one_padded_window_and_padding_is_never_cut():
    source = torch.ones(3, 2, 10)
    filled = torch.tensor([10, 6, 3])
    mask = (torch.arange(10) >= filled[:, None])[:, None].expand(-1, 2, -1)
    model = Windowed(Sums(), Cutting(4, 2, rule="mean_logits"), VALUES)
    logits = model(source.masked_fill(mask, 0), mask)["logits"]
    assert logits.tolist() == [[4, 4], [4, 4], [3, 3]]  # 4, 2 and 1 windows
    assert model(torch.ones(1, 2, 3))["logits"].tolist() == [[3, 3]]
    stacked = torch.arange(12.0).view(1, 3, 1, 4)  # windows that a dataset has cut itself
    assert model(stacked)["logits"].tolist() == [[22, 4]]


def test_what_the_head_reads_is_averaged_over_windows():
    class Pooled(nn.Module):
        def forward(self, source, padding_mask=None):
            return ModelOutput(logits=source.sum(dim=-1), pooled=source.mean(dim=1))

    source = torch.randn(3, 2, 10)
    found = Windowed(Pooled(), Cutting(4, 2), LABELS)(source)["pooled"]
    wanted = torch.stack([source[:, :, at : at + 4].mean(dim=1) for at in (0, 2, 4, 6)]).mean(dim=0)
    torch.testing.assert_close(found, wanted)
    assert "pooled" not in Windowed(Sums(), Cutting(4, 2), LABELS)(source)


def test_models_without_one_answer_per_item_are_not_asked_by_windows():
    class Frames(nn.Module):
        def forward(self, source, padding_mask=None):
            return ModelOutput(features=source)

    with pytest.raises(ConfigError, match="window_count are for models that give a record one answer"):
        Windowed(Frames(), Cutting(4, 2), LABELS)(torch.ones(1, 2, 8))


def test_the_length_of_a_window_must_be_known(classification):
    classification["dataset"]["window_stride"] = 500
    with pytest.raises(ConfigError, match=r"set dataset\.window_length"):
        Trainer(resolve_config(classification))
    classification["dataset"]["window_count"] = 3
    with pytest.raises(ConfigError, match="both say how"):
        Trainer(resolve_config(classification))


@pytest.fixture
def recipe(classification):
    """Random crops of 1000 samples to train on, windows of 1000 every 750 of the sample's 2500 to validate."""
    classification["task"]["max_sample_size"] = 1000
    classification["dataset"]["window_stride"] = 750
    classification["optimization"]["max_update"] = 4
    return classification


def by_hand(recipe, path, split="valid"):
    """Logits of every window [items, windows, labels], and targets, from the files themselves."""
    root, *rows = (sample_lines(recipe, split)).splitlines()
    model = load_model(path)
    stored = [loadmat(f"{root}/{row.split()[0]}") for row in rows]
    sources = torch.stack([torch.from_numpy(item["feats"]).float() for item in stored])
    windows = torch.stack([sources[..., at : at + 1000] for at in (0, 750, 1500)], dim=1)
    with torch.no_grad():
        logits = torch.stack([model(item)["logits"] for item in windows])
    labels = np.load(recipe["task"]["label_file"])[[int(item["idx"].item()) for item in stored]]
    return logits, torch.from_numpy(labels).float()


def sample_lines(recipe, split):
    from pathlib import Path

    return (Path(recipe["task"]["data"]) / f"{split}.tsv").read_text()


@pytest.mark.parametrize("rule", RULES)
def test_validation_test_and_prediction_see_every_window_and_join_them_as_the_recipe_says(recipe, tmp_path, rule):
    recipe["dataset"]["window_rule"] = rule
    trainer = Trainer(resolve_config(recipe))
    trainer.train()
    path = trainer.save_dir / "checkpoint_last.pt"
    lines = map(json.loads, (trainer.save_dir / "metrics.jsonl").read_text().splitlines())
    printed = [row for row in lines if row["split"] == "valid"][-1]

    logits, target = by_hand(recipe, path)
    weight = torch.tensor([1.0, 2.0, 3.0])
    loss = nn.functional.binary_cross_entropy_with_logits(logits.mean(1), target, pos_weight=weight)
    assert printed["loss"] == pytest.approx(loss.item() / np.log(2), rel=1e-5)
    wanted = {
        "mean": logits.sigmoid().mean(1),
        "max": logits.sigmoid().amax(1),
        "mean_logits": logits.mean(1).sigmoid(),
    }
    auroc = ranking_metrics(wanted[rule].numpy(), target.numpy()).auroc
    assert printed["auroc"] == pytest.approx(np.nanmean(auroc), abs=1e-6)

    for key in ("window_stride", "window_rule"):  # travels with the checkpoint
        del recipe["dataset"][key]
    sections = {**recipe, "common_eval": {"path": str(path)}}
    sections.pop("checkpoint")
    assert Evaluator(sections, Placement()).validate(tmp_path)["valid"]["loss"] == pytest.approx(printed["loss"])
    rows = np.loadtxt(tmp_path / "predictions_valid.csv", delimiter=",", skiprows=1, usecols=[3, 4, 5])
    np.testing.assert_allclose(rows, wanted[rule], rtol=1e-5)

    predictor = Predictor(path, published=True)  # as validations do, without taking pos_weight back
    predictor.signal.steps = []
    root, first, *_ = sample_lines(recipe, "valid").splitlines()
    signal = loadmat(f"{root}/{first.split()[0]}")["feats"]
    record = Record(signal=signal.astype(np.float32), sample_rate=500, leads=predictor.signal.leads)
    found = predictor._predict("r", record, None)
    assert [(window["start"], window["end"]) for window in found.windows] == [(0, 2), (1.5, 3.5), (3, 5)]
    np.testing.assert_allclose(list(found.probabilities.values()), wanted[rule][0], rtol=1e-5)


def test_windows_of_a_fixed_number_travel_too(recipe):
    recipe["dataset"] |= {"window_stride": None, "window_count": 4, "window_rule": "max"}
    trainer = Trainer(resolve_config(recipe))
    trainer.train()
    signal = load_model(trainer.save_dir / "checkpoint_last.pt").signal
    assert (signal.window_samples, signal.stride_samples, signal.window_count) == (1000, None, 4)
    assert signal.rule("odd") == "max" and signal.starts(2500) == [0, 500, 1000, 1500]


def test_windows_are_the_published_ones_but_that_short_records_are_not_lost(golden):
    published = json.loads((golden / "benchmarks" / "protocol_misc.json").read_text())["windows"]
    for case in published:
        samples = case["chunk_length"] or case["length"]
        found = Cutting(samples, case["stride"]).starts(case["length"])
        assert found == (case["start"] or [0])
        assert bool(case["start"]) == (case["length"] >= case["min_chunk_length"])


def test_one_scale_for_all_leads_is_the_published_standardiser(golden):
    arrays = np.load(golden / "benchmarks" / "standardizer.npz")
    facts = json.loads((golden / "benchmarks" / "protocol_misc.json").read_text())["standardizer"]
    step = make_step({"name": "normalise", "mean": [facts["mean"]] * 12, "std": [facts["std"]] * 12})
    for record, wanted in zip(arrays["X"], arrays["X_std"]):
        np.testing.assert_allclose(step(record.T, 100, 100)[0].T, wanted, atol=1e-12)
