"""Results of an evaluation: by label, with intervals over patients, and one row per item."""

import csv
import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ecg_signals.composition import resolve_config
from ecg_signals.config import ConfigError
from ecg_signals.evaluation.evaluator import Evaluator
from ecg_signals.metrics.bootstrap import resampled_groups
from ecg_signals.metrics.results import compare, evaluate
from ecg_signals.runtime.placement import Placement
from ecg_signals.trainer import Trainer


def rows(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def noisy():
    """Scores and targets of 60 items of 20 patients, two labels."""
    draws = np.random.default_rng(0)
    targets = draws.integers(0, 2, size=(60, 2)).astype(float)
    scores = np.clip(0.3 * targets + 0.7 * draws.random((60, 2)), 0, 1)
    return scores, targets, np.repeat(np.arange(20), 3)


def test_groups_are_drawn_whole():
    groups = np.array([5, 7, 5, 7, 9])
    for chosen in resampled_groups(groups, 20, seed=0):
        counts = np.bincount(chosen, minlength=5)
        assert counts[0] == counts[2] and counts[1] == counts[3]
        assert counts[[0, 1, 4]].sum() == 3


def test_values_are_those_of_each_label_and_lie_in_their_intervals(noisy):
    scores, targets, owners = noisy
    found = evaluate(scores, targets, ["a", "b"], "labels", owners=owners, rounds=100)
    for number in range(2):
        assert found.values["auroc"][number] == pytest.approx(roc_auc_score(targets[:, number], scores[:, number]))
    low, high = found.ends["auroc"]
    assert (low < found.values["auroc"]).all() and (found.values["auroc"] < high).all()
    assert found.means["auroc"] == pytest.approx(found.values["auroc"].mean())
    assert found.positives.tolist() == targets.sum(axis=0).tolist()


def test_items_of_one_patient_do_not_make_an_interval_narrower(noisy):
    scores, targets, _ = noisy
    ten = [np.repeat(values, 10, axis=0) for values in (scores, targets)]  # every item ten times
    alone = evaluate(scores, targets, ["a", "b"], "labels", owners=np.arange(60), rounds=200)
    together = evaluate(*ten, ["a", "b"], "labels", owners=np.repeat(np.arange(60), 10), rounds=200)
    np.testing.assert_allclose(together.ends["auroc"], alone.ends["auroc"])


def test_classes_and_values_are_scored_as_such():
    probabilities = np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    found = evaluate(probabilities, np.array([0, 1, 2, -1]), "abc", "classes", owners=np.arange(4))
    assert found.means["accuracy"] == pytest.approx(2 / 3) and found.known.tolist() == [3, 3, 3]
    assert found.values["recall"].tolist() == [1, 1, 0] and not any(found.undefined.values())
    found = evaluate(probabilities, np.array([0, 1, 1, 0]), "abc", "classes", owners=None)
    assert found.undefined["auroc"] == ["c"]
    targets = np.array([[1.0], [np.nan], [3.0]])
    values = evaluate(np.array([[2.0], [0.0], [3.0]]), targets, ["age"], "values", owners=np.arange(3))
    assert values.values["mse"].tolist() == [0.5] and values.known.tolist() == [2]


def test_an_interval_of_a_regression_is_not_a_point(noisy):
    scores, targets, _ = noisy
    found = evaluate(scores, targets + scores, ["a", "b"], "values", metrics=["mae", "rmse"], owners=None, rounds=50)
    assert all((low < high).all() for low, high in found.ends.values())


def test_labels_without_a_value_are_named_and_count_as_asked(noisy):
    scores, targets, owners = noisy
    missing = np.column_stack([targets, np.zeros(60)])
    scores, labels, names = np.column_stack([scores, scores[:, 0]]), ["a", "b", "none"], ["auroc", "recall"]
    means = {}
    for absent in ("skip", "half", "zero", "nan"):
        found = evaluate(scores, missing, labels, "labels", metrics=names, owners=owners, absent=absent)
        assert found.undefined == {"auroc": ["none"], "recall": ["none"]}
        means[absent] = found.means
    both = found.values["auroc"][:2].sum()
    areas = [means[absent]["auroc"] for absent in ("skip", "half", "zero")]
    assert areas == pytest.approx([both / 2, (both + 0.5) / 3, both / 3]) and np.isnan(means["nan"]["auroc"])
    assert means["half"]["recall"] == means["skip"]["recall"]  # a guess has no recall of its own


def test_rounds_in_which_a_label_has_no_value_are_left_out_of_intervals_and_counted(noisy):
    scores, targets, owners = noisy
    rare = np.column_stack([targets[:, 0], np.arange(60) < 2])
    found = evaluate(scores, rare, ["a", "b"], "labels", metrics=["auroc"], owners=owners, rounds=40, absent="nan")
    assert found.lost["auroc"][0] == 0 < found.lost["auroc"][1] == found.mean_lost["auroc"] < 40
    assert np.isfinite(found.ends["auroc"]).all() and np.isfinite(found.mean_ends["auroc"]).all()
    assert found.summary()["auroc"]["undefined_rounds"] == found.mean_lost["auroc"]
    assert [row["auroc_undefined_rounds"] for row in found.rows()] == found.lost["auroc"].tolist()
    apart = compare((scores, 1 - scores), rare, ["a", "b"], "labels", metrics=["auroc"], owners=owners, rounds=40,
                    absent="nan")["auroc"]  # fmt: skip
    assert apart.low < apart.high and apart.undefined == found.mean_lost["auroc"]


def test_a_score_that_is_no_number_is_an_error_that_names_its_label(noisy):
    scores, targets, owners = noisy
    scores, unknown = scores.copy(), targets.copy()
    scores[3:5, 1] = np.nan
    with pytest.raises(ConfigError, match="answers NaN to 2 of 60 items for b; look for"):
        evaluate(scores, targets, ["a", "b"], "labels", owners=owners)
    unknown[3:5, 1] = np.nan  # nobody asks what it answers there
    evaluate(scores, unknown, ["a", "b"], "labels", owners=owners)


def test_what_is_predicted_may_be_given(noisy):
    scores, targets, owners = noisy
    found = evaluate(scores, targets, ["a", "b"], "labels", owners=owners, predicted=targets == 1, rounds=3)
    assert found.means["f1_score"] == 1 and found.mean_ends["recall"].tolist() == [1, 1] and found.means["auroc"] < 1


def test_a_better_model_is_told_from_a_worse_one_and_not_from_itself(noisy):
    scores, targets, owners = noisy
    worse = np.random.default_rng(5).permuted(scores, axis=0)
    found = compare((scores, worse), targets, ["a", "b"], "labels", metrics=["auroc"], owners=owners, rounds=100)
    assert found["auroc"].clear and found["auroc"].low < found["auroc"].value < found["auroc"].high
    whole = [evaluate(one, targets, ["a", "b"], "labels", owners=owners).means["auroc"] for one in (scores, worse)]
    assert found["auroc"].value == pytest.approx(whole[0] - whole[1])
    same = compare((scores, scores), targets, ["a", "b"], "labels", metrics=["auroc"], owners=owners, rounds=5)
    assert (same["auroc"].value, same["auroc"].low, same["auroc"].clear) == (0, 0, False)


def test_validation_writes_results_by_label_and_a_row_per_item(classification, tmp_path):
    trainer = Trainer(resolve_config({**classification, "optimization": {"max_update": 1, "lr": [1e-3]}}))
    trainer.train()
    path = str(trainer.save_dir / "checkpoint_last.pt")
    sections = {**classification, "common_eval": {"path": path, "intervals": 20}, "checkpoint": {}}
    printed = Evaluator(sections, Placement()).validate(tmp_path)["valid"]
    labels = rows(tmp_path / "per_label_valid.csv")
    assert [row["label"] for row in labels] == ["odd", "third", "rare"]
    assert [row["positives"] for row in labels] == ["4", "2", "2"] and {row["known"] for row in labels} == {"8"}
    assert np.mean([float(row["auroc"]) for row in labels]) == pytest.approx(printed["auroc"])
    items = rows(tmp_path / "predictions_valid.csv")
    assert [row["file"].rpartition("/")[2] for row in items][:3] == ["r08_0.mat", "r08_1.mat", "r09_0.mat"]
    assert [row["patient"] for row in items] == [str(index) for index in range(8, 12) for _ in range(2)]
    assert {row["target odd"] for row in items[2:4]} == {"1.0"}
    content = json.loads((tmp_path / "results.json").read_text())
    split = content["splits"]["valid"]
    assert (split["items"], split["groups"], split["resampled"], split["rounds"]) == (8, 4, "patient", 20)
    assert set(split["means"]["auroc"]) == {"value", "low", "high", "undefined_rounds"}
    assert content["statistics"]["valid"]["loss"] == pytest.approx(printed["loss"])


def test_a_model_without_labels_leaves_its_statistics(pretraining, tmp_path):
    trainer = Trainer(resolve_config({**pretraining, "optimization": {"max_update": 1, "lr": [1e-3]}}))
    trainer.train()
    sections = {**pretraining, "common_eval": {"path": str(trainer.save_dir / "checkpoint_last.pt")}, "checkpoint": {}}
    printed = Evaluator(sections, Placement()).validate(tmp_path)["valid"]
    assert json.loads((tmp_path / "results.json").read_text())["statistics"]["valid"]["loss"] == printed["loss"]
    assert not list(tmp_path.glob("*.csv"))
