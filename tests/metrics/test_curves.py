"""Curves of one label, and their points for a drawing."""

import numpy as np
import pytest

from ecg_signals.metrics.calibration import brier_score, expected_calibration_error
from ecg_signals.metrics.curves import calibration_curve, pr_curve, roc_curve
from ecg_signals.metrics.ranking import ranking_metrics


@pytest.fixture
def label():
    """5,000 probabilities in steps of 1/500, and answers; some are unknown."""
    rng = np.random.default_rng(0)
    scores = np.round(rng.random(5000), 2) * 0.6 + np.round(rng.random(5000), 1) * 0.4
    targets = (rng.random(5000) < scores).astype(float)
    targets[::10] = np.nan
    return targets, scores


def test_points_of_the_roc_curve_are_scikit_learns_and_enclose_the_area(label):
    from sklearn import metrics

    targets, scores = label
    known = ~np.isnan(targets)
    wanted = metrics.roc_curve(targets[known], scores[known], drop_intermediate=False)
    for found, values in zip(roc_curve(*label, points=None), wanted):
        np.testing.assert_allclose(found, values)
    area = ranking_metrics(scores[:, None], targets[:, None]).auroc[0]
    wrong, right, _ = roc_curve(*label, points=None)
    assert metrics.auc(wrong, right) == pytest.approx(area, rel=1e-12)
    wrong, right, thresholds = roc_curve(*label)
    assert len(wrong) <= 200 and (wrong[0], right[0], wrong[-1], right[-1]) == (0, 0, 1, 1)
    assert metrics.auc(wrong, right) == pytest.approx(area, abs=1e-4) and (np.diff(thresholds) < 0).all()


def test_points_of_precision_and_recall_give_the_average_precision(label):
    targets, scores = label
    recall, precision, _ = pr_curve(*label, points=None)
    area = ranking_metrics(scores[:, None], targets[:, None]).average_precision[0]
    assert np.sum(np.diff(recall, prepend=0) * precision) == pytest.approx(area, rel=1e-12)
    recall, precision, _ = pr_curve(*label)
    assert len(recall) <= 200 and recall[-1] == 1
    assert np.sum(np.diff(recall, prepend=0) * precision) == pytest.approx(area, abs=5e-3)


def test_thinning_leaves_a_random_curve_of_many_records_its_look():
    rng = np.random.default_rng(1)
    scores, targets = rng.random(100_000), rng.random(100_000) < 0.001
    wrong, right, _ = roc_curve(targets, scores)
    whole = roc_curve(targets, scores, points=None)
    assert len(wrong) <= 200
    assert np.abs(np.interp(whole[0], wrong, right) - whole[1]).max() < 0.02


def test_curves_of_a_label_without_positives_or_records_are_no_error():
    for targets in (np.zeros(300), np.full(300, np.nan), np.ones(300)):
        for curve in (roc_curve, pr_curve, calibration_curve):
            parts = curve(targets, np.linspace(0, 1, 300))
            assert len({len(part) for part in parts}) == 1
    _, right, _ = roc_curve(np.zeros(300), np.linspace(0, 1, 300))
    assert np.isnan(right).all() and len(right) == 2


def test_calibration_is_worked_by_hand():
    targets, scores = np.array([0.0, 1, 1, 0, np.nan]), np.array([0.05, 0.05, 1.0, 0.95, 0.5])
    mean, share, count = calibration_curve(targets, scores, bins=10)
    np.testing.assert_allclose([mean, share], [[0.05, 0.975], [0.5, 0.5]])
    assert count.tolist() == [2, 2]
    columns = np.stack([targets, np.full(5, np.nan)], axis=1), np.stack([scores, scores], axis=1)
    np.testing.assert_allclose(expected_calibration_error(*columns, bins=10), [0.5 * 0.45 + 0.5 * 0.475, np.nan])
    np.testing.assert_allclose(brier_score(*columns), [(0.05**2 + 0.95**2 + 0 + 0.95**2) / 4, np.nan])
    with pytest.raises(ValueError, match=r"needs probabilities, 0 to 1; found 0\.05 to 2"):
        expected_calibration_error(targets[:, None], np.array([[0.05], [0.05], [2.0], [1], [1]]))
