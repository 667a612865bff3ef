"""The metrics of published benchmarks, against what their own code gives."""

import json
from functools import partial

import numpy as np
import pytest

from ecg_signals.config import UsageError
from ecg_signals.metrics.areas import mean_auprc, mean_auroc
from ecg_signals.metrics.base import Scored, make_metrics, mean_defined, measure
from ecg_signals.metrics.best_f1 import best_f1
from ecg_signals.metrics.challenge import beta_measures, g_beta_thresholds, predict, youden_thresholds
from ecg_signals.metrics.fmax import fmax, fmax_curve
from ecg_signals.metrics.logits import LABELS

EXACT = {"rel": 1e-9, "abs": 1e-12}


@pytest.fixture(scope="module")
def arrays(golden):
    with np.load(golden / "benchmarks/metrics.npz") as found:
        return {key: found[key] for key in found.files}


@pytest.fixture(scope="module")
def wanted(golden):
    return json.loads((golden / "benchmarks/metrics.json").read_text())


@pytest.fixture
def truth(arrays):
    return arrays["y_true"].astype(np.float64)


def test_fmax_and_its_curve(arrays, wanted, truth):
    curve = fmax_curve(truth, arrays["y_score"])
    for name, values in (("PR", curve.precision), ("RC", curve.recall), ("FPR", curve.false_alarms),
                         ("COV", curve.coverage), ("thresholds", curve.thresholds)):  # fmt: skip
        np.testing.assert_allclose(values, arrays[f"fmax_{name}"], rtol=1e-9, err_msg=name)
    best = wanted["fmax"]
    assert fmax(truth, arrays["y_score"]) == pytest.approx((best["Fmax"], best["threshold"]), **EXACT)
    at = int(np.nanargmax(curve.f1))
    found = {"precision": curve.precision, "recall": curve.recall, "coverage": curve.coverage}
    assert {name: values[at] for name, values in found.items()} == pytest.approx(
        {name: best[name] for name in found}, **EXACT
    )
    serial = wanted["fmax_serial_at_threshold"]
    found = fmax_curve(truth, arrays["y_score"], np.array([best["threshold"]]))
    names = {"precision": "precision", "recall": "recall", "fpr": "false_alarms", "coverage": "coverage"}
    assert {key: getattr(found, name)[0] for key, name in names.items()} == pytest.approx(serial, **EXACT)


@pytest.mark.parametrize(
    ("rule", "choose"), [("youden", partial(youden_thresholds, published=True)), ("gbeta", g_beta_thresholds)]
)
def test_thresholds_per_label_what_they_predict_and_the_scores_of_icbeb(arrays, wanted, truth, rule, choose):
    thresholds = choose(truth, arrays["y_score"])
    np.testing.assert_allclose(thresholds, arrays[f"thr_{rule}"], rtol=1e-12)
    predicted = predict(arrays["y_score"], thresholds)
    np.testing.assert_array_equal(predicted, arrays[f"binary_{rule}"] == 1)
    scored = Scored(arrays["y_score"], truth, predicted)
    found = {name: mean_defined(values) for name, values in measure(make_metrics(["f2", "g2"], LABELS), scored).items()}
    published = wanted[f"challenge2020_{rule}"]
    assert found == pytest.approx({"f2": published["F_beta_macro"], "g2": published["G_beta_macro"]}, **EXACT)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_lies_above_youdens_threshold_has_the_best_balance_of_recall_and_false_alarms(arrays, truth, dtype):
    scores = arrays["y_score"].astype(dtype)

    def balance(thresholds):
        predicted, positive = predict(scores, thresholds, fallback=False), truth == 1
        return (predicted & positive).sum(axis=0) / positive.sum(axis=0) - (
            (predicted & ~positive).sum(axis=0) / (~positive).sum(axis=0)
        )

    best = np.max([balance(row - 1e-6) for row in scores], axis=0)
    np.testing.assert_allclose(balance(youden_thresholds(truth, scores)), best, rtol=1e-12)
    assert (balance(youden_thresholds(truth, scores, published=True)) < best).any()


def test_a_label_without_positives_counts_as_the_policy_says(arrays, wanted, truth):
    missing = truth.copy()
    published, scores = wanted["one_class_without_positives"], arrays["y_score"]
    missing[:, published["auprc_sklearn_per_class"].index(0.0)] = 0
    assert mean_auroc(missing, scores) == pytest.approx(published["nanmean_macro"], **EXACT)
    assert mean_auroc(missing, scores, absent="half") == pytest.approx(published["cafa_macro"], **EXACT)
    assert np.isnan(mean_auroc(missing, scores, absent="nan"))
    zeros = np.mean(published["auprc_sklearn_per_class"])
    assert mean_auprc(missing, scores, absent="zero") == pytest.approx(zeros, **EXACT)
    assert mean_auroc(missing, scores, average="weighted", absent="half") == mean_auroc(missing, scores, "weighted")
    none = np.zeros_like(missing)  # there is nothing to weigh by
    assert np.isnan([mean_auroc(none, scores, "weighted", "half"), mean_auprc(none, scores, "weighted", "zero")]).all()


def test_the_largest_f1_and_its_accuracy(arrays, wanted, truth):
    f1, accuracy = best_f1(truth, arrays["y_score"], published=True)
    np.testing.assert_allclose(f1, wanted["maxf1_per_class"], rtol=1e-9)
    assert mean_defined(f1) == pytest.approx(wanted["maxf1_macro"], **EXACT)
    assert mean_defined(accuracy) == pytest.approx(wanted["acc_at_maxf1_macro"], **EXACT)


def test_the_largest_f1_is_that_of_every_threshold_tried_in_turn():
    rng = np.random.default_rng(0)
    for _ in range(40):
        count = rng.integers(1, 30)
        scores, target = rng.integers(6, size=count) / 5, rng.choice([0.0, 1.0, np.nan], size=count, p=[0.5, 0.4, 0.1])
        known, positive = ~np.isnan(target), target == 1
        tried = []
        for cut in np.unique(scores[known]):
            predicted = known & (scores >= cut)
            f1 = 2 * (predicted & positive).sum() / (predicted.sum() + positive.sum()) if positive.any() else np.nan
            right = [(found == positive)[known].mean() for found in (predicted, known & (scores > cut))]
            tried.append((f1, -cut, *right))
        wanted = max(tried, key=lambda row: row[:2]) if tried and positive.any() else (np.nan,) * 4
        for published, place in ((False, 2), (True, 3)):
            found = best_f1(target[:, None], scores[:, None], published)
            np.testing.assert_allclose(np.ravel(found), [wanted[0], wanted[place]], rtol=1e-12)


def test_windows_of_a_record_by_mean_and_maximum(arrays, wanted, truth):
    assert mean_auroc(truth[arrays["win_idmap"]], arrays["win_score"]) == pytest.approx(
        wanted["win"]["macro_auc_windows"], **EXACT
    )
    for rule in ("mean", "max"):
        assert mean_auroc(truth, arrays[f"agg_{rule}"]) == pytest.approx(wanted["win"][f"macro_auc_{rule}"], **EXACT)


def test_a_record_without_labels_takes_nothing_from_the_others():
    targets, predicted = np.array([[1.0, 0], [0, 0], [0, 1]]), np.array([[True, False], [True, False], [False, True]])
    f, g = beta_measures(targets, predicted)
    np.testing.assert_allclose(f, [5 / 6, 1])
    np.testing.assert_allclose(g, [1 / 2, 1])


def test_no_positives_and_a_single_record_are_no_error():
    nothing, scores = np.zeros((1, 3)), np.array([[0.2, 0.5, 0.3]])
    assert np.isnan(fmax(nothing, scores)).all() and np.isnan(best_f1(nothing, scores)).all()
    assert np.isinf(youden_thresholds(nothing, scores)).all()
    assert predict(scores, youden_thresholds(nothing, scores)).tolist() == [[False, True, False]]
    assert not predict(scores, 0.6, fallback=False).any()
    one = np.array([[0, 1.0, 0]])
    assert fmax(one, scores) == (1.0, pytest.approx(0.31)) and best_f1(one, scores)[0][1] == 1
    assert np.isnan(mean_auroc(one, scores)) and mean_auroc(one, scores, absent="half") == 0.5
    assert mean_auroc(one, scores, average="micro") == 1


def test_an_unknown_policy_names_its_neighbour():
    with pytest.raises(UsageError, match="did you mean 'skip'"):
        mean_auroc(np.eye(2), np.eye(2), absent="skp")


@pytest.mark.parametrize("metric", ["fmax", "f2", "ece", "brier", "exact_match", "balanced_accuracy", "max_f1"])
def test_unknown_answers_leave_a_value_as_it_is_without_their_records(arrays, truth, metric):
    unknown = truth.copy()
    unknown[::3] = np.nan
    kept = ~np.isnan(unknown[:, 0])
    found, alone = (
        measure(make_metrics([metric], LABELS), Scored.of(arrays["y_score"][rows], unknown[rows], LABELS))[metric]
        for rows in (slice(None), kept)
    )
    np.testing.assert_allclose(found, alone)
