"""Evaluation of fine-tuned models against the reference: per label, intervals, score, test-time augmentation, CSV."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecg_signals.metrics.bootstrap import intervals, resampled_items
from ecg_signals.metrics.condition_score import condition_name, condition_score
from ecg_signals.metrics.per_label import (
    LABEL_METRICS,
    class_performance,
    label_performance,
    mean_defined,
    regression_performance,
)


@pytest.fixture(scope="module")
def reference(golden: Path) -> dict[str, Any]:
    with np.load(golden / "hubert_ecg/eval/metrics.npz") as arrays:
        return {key: arrays[key] for key in arrays.files}


@pytest.fixture(scope="module")
def expected(golden: Path) -> dict[str, Any]:
    return json.loads((golden / "hubert_ecg/eval/metrics.json").read_text())


def test_values_of_every_label_and_their_means_are_the_references(reference: Any, expected: Any) -> None:
    found = label_performance(reference["ml_probs"], reference["ml_labels"])
    for name in LABEL_METRICS:
        np.testing.assert_allclose(found[name], expected["multi_label"][f"test_{name}"], atol=1e-6)
        assert mean_defined(found[name]) == pytest.approx(expected["multi_label"][f"test_{name}_macro"], abs=1e-6)


def test_values_over_classes_are_the_references(reference: Any, expected: Any) -> None:
    found = class_performance(reference["mc_probs"], reference["mc_labels"])
    for name, value in found.items():
        assert value == pytest.approx(expected["multi_class"][f"test_{name}"], abs=1e-6), name


def test_a_label_without_positives_is_undefined_and_left_out_of_the_mean() -> None:
    labels = np.array([[1.0, 0, 1], [0, 0, 1], [np.nan, 0, 1]])
    found = label_performance(np.array([[0.9, 0.2, 0.9], [0.1, 0.7, 0.8], [0.6, 0.1, 0.7]]), labels)
    assert np.isnan(found["auroc"]).tolist() == [False, True, True] and mean_defined(found["auroc"]) == 1
    assert np.isnan(found["recall"]).tolist() == [False, True, False]
    assert found["precision"][0] == 1 and np.isnan(found["specificity"][2])
    zeros = label_performance(np.zeros((3, 3)), labels, zeros=True)
    assert not any(np.isnan(values).any() for values in zeros.values())


def test_errors_of_a_regression_are_worked_by_hand() -> None:
    found = regression_performance(np.array([[1.0], [3], [9]]), np.array([[2.0], [4], [np.nan]]))
    assert found == {"mse": 1.0, "mae": 1.0, "r2": 0.0}


def test_resampled_items_and_intervals_are_the_references(reference: Any, expected: Any) -> None:
    rounds = expected["bootstrap"]["N"]
    labels, probabilities = reference["ml_labels"], reference["ml_probs"]
    drawn = list(resampled_items(labels, rounds, expected["bootstrap"]["seed"]))
    np.testing.assert_array_equal(drawn, reference["bootstrap_ids"])
    found = intervals(lambda chosen: label_performance(probabilities[chosen], labels[chosen]), iter(drawn))
    lines = []
    for name in LABEL_METRICS:
        lines.append(f"test_{name}:")
        lines += [f"  Class {label}: {low:.4f} - {high:.4f}" for label, (low, high) in enumerate(found[name].T)]
    assert lines == expected["bootstrap"]["intervals"]["none"]

    def macro(chosen: np.ndarray) -> dict[str, float]:
        values = label_performance(probabilities[chosen], labels[chosen], zeros=True)
        return {name: mean_defined(value) for name, value in values.items()}

    found = intervals(macro, iter(drawn))
    lines = [f"test_{name}: {found[name][0]:.4f} - {found[name][1]:.4f}" for name in LABEL_METRICS]
    assert lines == expected["bootstrap"]["intervals"]["macro"]


def test_the_challenge_score_of_condition_names_is_the_references(golden: Path, reference: Any, expected: Any) -> None:
    wanted = expected["cinc2020"]
    assert [condition_name(name) for name in wanted["labels"]] == wanted["mapped"]
    predicted = reference["ml_probs"] > wanted["threshold"]
    weights = golden / "hubert_ecg/eval/cinc_weights_synthetic.csv"
    score, scored = condition_score(predicted, reference["ml_labels"] == 1, wanted["labels"], weights)
    assert score == pytest.approx(wanted["score"], abs=1e-9) and len(scored) == 4


def test_every_published_spelling_has_its_name(golden: Path) -> None:
    aliases = json.loads((golden / "hubert_ecg/data/label_aliases.json").read_text())["aliases"]
    assert {name: condition_name(name) for name in aliases} == aliases
