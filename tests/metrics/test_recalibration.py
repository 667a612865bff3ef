"""Slope, offsets, curves, thresholds and intervals that make probabilities of scores."""

import json

import numpy as np
import pytest
import torch
from scipy.special import expit, logit, softmax
from scipy.stats import norm

from ecg_signals.config import ConfigError
from ecg_signals.metrics import likeness
from ecg_signals.metrics.calibrated import POINTS, of_weights, probability_of, read_calibration, wilson
from ecg_signals.metrics.recalibration import applied, bands, fit, folds, pooled_error, thresholds, top_error, unseen


def drawn(records: int, prevalence: list[float], seed: int = 0, spread: float = 2.0):
    """True log odds and what came true, [records, labels]."""
    rng = np.random.default_rng(seed)
    odds = logit(np.array(prevalence)) - 0.3 + spread * rng.standard_normal((records, len(prevalence)))
    return odds, (rng.random(odds.shape) < expit(odds)).astype(float)


def test_slope_and_offset_are_found_again():
    odds, truth = drawn(4000, [0.1, 0.3, 0.5, 0.2])
    found = fit((odds - 0.7) / 0.6, truth)
    assert found["a"] == pytest.approx(0.6, abs=0.03)
    np.testing.assert_allclose(found["b"], 0.7, atol=0.15)
    assert pooled_error(truth, applied(found, (odds - 0.7) / 0.6)) < 0.01


def test_a_label_of_twenty_positives_goes_half_of_its_way_alone():
    odds, truth = np.zeros((1000, 2)), np.zeros((1000, 2))
    truth[:500, 0], truth[:20, 1] = 1, 1
    odds[:, 1] = logit(0.5)
    found = fit(odds + np.random.default_rng(0).normal(0, 1e-3, odds.shape), truth)
    alone = logit(21 / 22 * 0.02 + 0.98 / 982) - found["b"][0]
    assert found["b"][1] - found["b"][0] < 0.35 * alone  # it shares in the common offset, too
    truth[:1, 1] = 0  # nineteen have no offset of their own
    found = fit(odds + np.random.default_rng(0).normal(0, 1e-3, odds.shape), truth)
    shared = [found["b"][1], found["b"][0]]
    assert shared[0] != shared[1] and fit(odds[:, 1:], truth[:, 1:])["b"][0] < -3


def test_unknown_answers_count_nowhere_and_a_single_kind_is_an_error():
    odds, truth = drawn(300, [0.3, 0.4])
    hidden = truth.copy()
    hidden[200:, 1] = np.nan
    first, second = fit(odds, hidden), fit(np.where(np.isnan(hidden), 50.0, odds), hidden)
    assert first == second
    with pytest.raises(ConfigError, match="only one kind"):
        fit(odds, np.zeros_like(truth))


def test_what_separates_perfectly_has_a_finite_slope_and_what_knows_nothing_keeps_its_ranks():
    values = np.linspace(-1, 1, 200)[:, None]
    assert 1 < fit(values, (values > 0).astype(float))["a"] <= 100
    assert fit(values, (values < 0).astype(float))["a"] == 0.01


def test_curves_rise_pass_through_what_came_true_and_need_five_hundred_positives():
    odds, truth = drawn(4000, [0.3, 0.05])
    bent = np.sign(odds) * np.sqrt(np.abs(odds))  # no slope mends it
    straight, curved = fit(bent, truth), fit(bent, truth, "isotonic")
    assert curved["curves"][1] is None and straight["curves"] == [None, None]
    before, after = (pooled_error(truth[:, :1], applied(found, bent)[:, :1]) for found in (straight, curved))
    assert after < before / 2
    assert (np.diff(applied(curved, np.sort(bent, axis=0))[:, 0]) >= 0).all()


def classes_drawn(records: int, temperature: float, seed: int = 0):
    """Logits that are too large by `temperature`, and what came true, [records, 4]; one class of each is true."""
    rng = np.random.default_rng(seed)
    odds = 2.0 * rng.standard_normal((records, 4)) - np.arange(4)
    truth = np.eye(4)[[rng.choice(4, p=softmax(row)) for row in odds]]
    return temperature * odds, truth


def test_of_classes_one_temperature_is_found_again_and_ranks_stay():
    logits, truth = classes_drawn(4000, 3.0)
    found = fit(logits, truth, "temperature")
    assert 1 / found["a"] == pytest.approx(3.0, rel=0.06) and found["b"] == [0.0] * 4
    answers = applied(found, logits)
    np.testing.assert_allclose(answers, softmax(logits * found["a"], axis=1))
    assert top_error(truth, softmax(logits, axis=1)) > 0.1 > 0.02 > top_error(truth, answers)
    np.testing.assert_array_equal(answers.argmax(axis=1), logits.argmax(axis=1))
    held = unseen(logits, truth, np.arange(4000) // 2, "temperature")
    assert top_error(truth, held) < 0.02


def test_the_temperature_is_where_the_likelihood_is_highest_and_unknown_records_count_nowhere():
    logits, truth = classes_drawn(200, 0.5, seed=1)

    def loss(slope):
        return -np.log(softmax(slope * logits, axis=1)[truth == 1]).sum()

    best = fit(logits, truth, "temperature")["a"]
    assert loss(best) <= min(loss(best * 1.001), loss(best / 1.001))
    unknown = np.vstack([truth, np.full((5, 4), np.nan)])
    assert fit(np.vstack([logits, np.full((5, 4), 9.0)]), unknown, "temperature")["a"] == best
    with pytest.raises(ConfigError, match="several classes"):
        fit(logits, np.eye(4)[[2] * 200], "temperature")


def test_the_error_of_the_first_class_by_hand():
    """Four answers of 0.6, one of them right; a sixth has no truth."""
    answers = np.array([[0.6, 0.4]] * 4 + [[0.1, 0.9], [0.5, 0.5]])
    truth = np.array([[1, 0], [0, 1], [0, 1], [0, 1], [0, 1], [np.nan, np.nan]])
    assert top_error(truth, answers) == pytest.approx((4 * abs(0.6 - 0.25) + abs(0.9 - 1)) / 5)


def test_patients_are_held_out_whole():
    owners = np.repeat(np.arange(20), 3)
    held = list(folds(owners))
    assert np.sum(held, axis=0).tolist() == [1] * 60
    assert all(len(set(owners[own]) & set(owners[~own])) == 0 for own in held)
    odds, truth = drawn(60, [0.4, 0.5])
    assert np.isfinite(unseen(odds, truth, owners, "affine")).all()
    with pytest.raises(ConfigError, match="two patients"):
        list(folds(np.zeros(5)))


def test_thresholds_reach_what_they_say():
    odds, truth = drawn(1000, [0.2])
    values = expit(odds)
    (found,) = thresholds(truth, values)
    for point in POINTS:
        said = found[point]
        positive = values[:, 0] >= said["threshold"]
        assert said["sensitivity"] == positive[truth[:, 0] == 1].mean()
        assert said["specificity"] == 1 - positive[truth[:, 0] == 0].mean()
        low, high = said["sensitivity_interval"]
        assert low < said["sensitivity"] < high
    assert found["sens90"]["sensitivity"] >= 0.9 > found["sens90"]["sensitivity"] - 1 / truth.sum()
    assert found["spec95"]["specificity"] >= 0.95
    youden = [values >= cut for cut in np.unique(values)]
    best = max(p[truth == 1].mean() - p[truth == 0].mean() for p in youden)
    assert found["youden"]["sensitivity"] + found["youden"]["specificity"] - 1 == pytest.approx(best)
    few = np.zeros_like(truth)
    few[:9] = 1
    assert thresholds(few, values) == [None] and thresholds(1 - few, values) == [None]


def test_bands_hold_fifty_records_and_rise():
    odds, truth = drawn(6000, [0.2, 0.1, 0.4])
    found = bands(truth, expit(odds))
    assert sum(found["n"]) == truth.size and sum(found["positive"]) == truth.sum() and min(found["n"]) >= 50
    shares = np.divide(found["positive"], found["n"])
    assert found["upto"][-1] == 1 and (np.diff(shares) > -0.05).all() and len(shares) > 5
    assert bands(truth[:40], expit(odds)[:40]) is None


@pytest.mark.parametrize(("hits", "count"), [(0, 10), (3, 10), (10, 10), (50, 400)])
def test_wilsons_interval_is_the_one_whose_ends_the_share_is_just_not_rejected_at(hits, count):
    low, high = wilson(hits, count)
    z = norm.ppf(0.975)
    for end in (low, high):
        if 0 < end < 1:
            assert abs(hits / count - end) == pytest.approx(z * np.sqrt(end * (1 - end) / count))
    assert low <= hits / count <= high


LIKENESS = {"mean": [0.0, 0.0], "directions": [[1.0, 0.0]], "variances": [1.0], "rest": 1.0, "limit": 2.0}


def calibration(labels: int = 3, method: str = "isotonic"):
    odds, truth = drawn(2500, [0.3] * labels)
    found = fit(odds / 2 + 1, truth, method)
    answers = applied(found, odds / 2 + 1)
    whole = {
        "method": method, "log_pos_weight": [0.5] * labels, **found, "n_records": 2500, "n_patients": 2500,
        "n_positive": [1] * labels, "n_known": [2500] * labels, "prevalence": [0.3] * labels, "ece_before": 0.2,
        "ece_uncalibrated": 0.1, "ece_after": 0.01, "thresholds": thresholds(truth, answers),
        "bands": bands(truth, answers), "likeness": likeness.fit(odds, folds(np.arange(2500))),
        "subset": "valid", "data_hash": "a", "date": "2026-01-01",
    }  # fmt: skip
    return whole, odds / 2 + 1, answers


def test_what_is_stored_gives_the_answers_that_were_fitted_also_through_json():
    whole, values, answers = calibration()
    found = read_calibration(json.loads(json.dumps(whole)), "f")
    assert found == read_calibration(whole, "f") and found.stored == whole
    older = {key: value for key, value in whole.items() if key != "likeness"}
    assert read_calibration(older, "f").stored == whole | {"likeness": None}
    logits = torch.from_numpy(values + 0.5)
    torch.testing.assert_close(found(logits).sigmoid(), torch.from_numpy(answers), rtol=0, atol=1e-9)
    assert found.of_windows(logits.float()).dtype == torch.float32
    low, high = found.band(0.3)
    assert low - 0.05 < 0.3 < high + 0.05 and high - low < 0.2


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("a", -1.0), ("a", float("nan")), ("a", "1"), ("b", [0.0]), ("b", None), ("method", "magic"), ("curves", []),
        ("log_pos_weight", [float("inf")] * 3), ("bands", {"upto": [1.0], "n": [1], "positive": [2]}),
        ("thresholds", [{}] * 3), ("curves", [{"logit": [1, 0], "calibrated": [0, 1]}] * 3), ("n_records", "many"),
        ("prevalence", [True] * 3), ("date", None), ("likeness", {}), ("likeness", {**LIKENESS, "rest": 0.0}),
        ("likeness", {**LIKENESS, "directions": [[1.0]]}), ("likeness", {**LIKENESS, "variances": [1.0, 1.0]}),
    ],
)  # fmt: skip
def test_a_strangers_calibration_is_read_or_refused_in_one_line(key, value):
    whole, _, _ = calibration()
    if (key, value) == ("date", None):
        del whole["date"]
    else:
        whole[key] = value
    with pytest.raises(ConfigError, match="run ecg-calibrate again") as error:
        read_calibration(whole, "file.pt")
    assert "file.pt" in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(ConfigError):
        read_calibration([1], "file.pt")


def test_weights_that_are_no_positive_numbers_leave_their_labels_alone():
    assert of_weights([1.0, 1.0], 2) is None and of_weights(None, 2) is None and of_weights([2.0], 2) is None
    found = of_weights([2.0, 0.0, float("inf"), 0.5], 4)
    assert found.log_pos_weight == (np.log(2.0), 0.0, 0.0, np.log(0.5)) and not found.fitted
    assert probability_of(-800) == 0 and probability_of(800) == 1
