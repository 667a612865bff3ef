import json

import numpy as np
import pytest

from ecg_signals.metrics.ranking import ranking_metrics
from ecg_signals.metrics.summary import summarise_ranking


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values.astype(np.float64)))


def test_areas_equal_the_reference_of_a_validation_pass(golden):
    given = np.load(golden / "wcr/metrics/inputs.npz")
    wanted = np.load(golden / "wcr/metrics/outputs.npz")
    found = ranking_metrics(given["logits"], given["target"])
    np.testing.assert_allclose(found.auroc, wanted["auroc_per_class"], rtol=1e-9)
    precision = wanted["auprc_per_class"].copy()
    precision[3] = np.nan  # a label without positives: the reference counts it as 0
    np.testing.assert_allclose(found.average_precision, precision, rtol=1e-9)
    printed = summarise_ranking(given["logits"], given["target"], "macro")
    assert printed["auroc"] == pytest.approx(wanted["auroc_macro_skip_single_class"], rel=1e-9)
    assert printed["auprc"] == pytest.approx(wanted["auprc_macro_all_classes"] * 26 / 25, rel=1e-9)
    assert printed["auroc_labels"] == 25
    assert printed["auroc_micro"] == pytest.approx(wanted["auroc_default_micro"], rel=1e-9)
    assert printed["auprc_micro"] == pytest.approx(wanted["auprc_default_micro"], rel=1e-9)


@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
def test_areas_with_ties_equal_the_benchmarks(golden, average):
    arrays = np.load(golden / "benchmarks/metrics.npz")
    wanted = json.loads((golden / "benchmarks/metrics.json").read_text())
    found = ranking_metrics(arrays["y_score"], arrays["y_true"])
    np.testing.assert_allclose(found.auroc, wanted["auroc_per_class"], rtol=1e-9)
    np.testing.assert_allclose(found.average_precision, wanted["auprc_per_class"], rtol=1e-9)
    printed = summarise_ranking(arrays["y_score"], arrays["y_true"], average)
    assert printed["auroc"] == pytest.approx(wanted[f"{average}_auc"], rel=1e-9)
    if average != "weighted":
        assert printed["auprc"] == pytest.approx(wanted[f"{average}_auprc"], rel=1e-9)


def test_areas_of_the_challenge_equal_the_reference(golden):
    arrays = np.load(golden / "benchmarks/cinc2021_metrics.npz")
    found = ranking_metrics(arrays["outputs_scalar"], arrays["labels"])
    np.testing.assert_allclose(found.auroc, arrays["auroc_per_class"], rtol=1e-9)
    np.testing.assert_allclose(found.average_precision, arrays["auprc_per_class"], rtol=1e-9)


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_areas_equal_scikit_learns_with_few_and_many_ties(levels):
    from sklearn.metrics import average_precision_score, roc_auc_score

    rng = np.random.default_rng(levels)
    scores = rng.integers(levels, size=(300, 4)) / levels
    targets = (rng.random((300, 4)) < [0.05, 0.3, 0.6, 0.95]).astype(float)
    found = ranking_metrics(scores, targets)
    np.testing.assert_allclose(found.auroc, roc_auc_score(targets, scores, average=None), rtol=1e-12)
    precision = average_precision_score(targets, scores, average=None)
    np.testing.assert_allclose(found.average_precision, precision, rtol=1e-12)
    areas = (roc_auc_score, average_precision_score)
    for average in ("weighted", "micro"):
        printed = summarise_ranking(scores, targets, average)
        wanted = [area(targets, scores, average=average) for area in areas]
        assert [printed["auroc"], printed["auprc"]] == pytest.approx(wanted)


def test_unknown_targets_count_for_nothing():
    rng = np.random.default_rng(0)
    scores, targets = rng.random((50, 3)), (rng.random((50, 3)) < 0.5).astype(float)
    targets[:20, 1] = np.nan
    found = ranking_metrics(scores, targets)
    alone = ranking_metrics(scores[20:, 1:2], targets[20:, 1:2])
    assert found.auroc[1] == alone.auroc[0] and found.average_precision[1] == alone.average_precision[0]
    assert found.positives[1] == alone.positives[0]


def test_labels_without_both_answers_are_undefined_and_skipped():
    scores = np.array([[0.1, 0.2, 0.3], [0.9, 0.8, 0.7]])
    targets = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 1.0]])
    found = ranking_metrics(scores, targets)
    np.testing.assert_array_equal(found.auroc, [1.0, np.nan, np.nan])
    np.testing.assert_array_equal(found.average_precision, [1.0, np.nan, 1.0])
    printed = summarise_ranking(scores, targets, "macro")
    assert printed["auroc"] == 1.0 and printed["auroc_labels"] == 1.0
    nothing = summarise_ranking(scores, np.full((2, 3), np.nan), "macro")
    assert nothing["auroc_labels"] == 0 and all(np.isnan(nothing[key]) for key in nothing if key != "auroc_labels")


def test_a_label_whose_scores_are_not_numbers_is_undefined():
    scores = np.array([[0.1, np.nan], [0.9, 0.2]])
    targets = np.array([[0.0, 0.0], [1.0, 1.0]])
    np.testing.assert_array_equal(ranking_metrics(scores, targets).auroc, [1.0, np.nan])


def test_negating_the_scores_mirrors_the_area():
    rng = np.random.default_rng(1)
    scores, targets = rng.integers(10, size=(80, 2)), rng.integers(2, size=(80, 2))
    np.testing.assert_allclose(ranking_metrics(scores, targets).auroc, 1 - ranking_metrics(-scores, targets).auroc)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("share", [0.1, 0.9])
def test_infinite_scores_tie_with_each_other_alone(dtype, share):
    rng = np.random.default_rng(3)
    scores = rng.integers(-9, 10, (200, 20)).astype(dtype)  # more labels than are copied at a time
    scores[scores == 9], scores[scores == -9] = np.inf, -np.inf
    targets = rng.random((200, 20)) < share
    found, finite = ranking_metrics(scores, targets), ranking_metrics(np.clip(scores, -9, 9), targets)
    np.testing.assert_array_equal(found.auroc, finite.auroc)
    np.testing.assert_array_equal(found.average_precision, finite.average_precision)
