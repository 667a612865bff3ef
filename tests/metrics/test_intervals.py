"""Intervals as the benchmarks compute and print them."""

import json

import numpy as np
import pytest

from ecg_signals.config import ConfigError
from ecg_signals.metrics.areas import mean_auroc
from ecg_signals.metrics.bootstrap import (
    PublishedInterval,
    intervals,
    published_interval,
    resampled_with_positives,
    spread,
)


def test_given_resamples_give_the_published_intervals_and_differences(golden):
    wanted = json.loads((golden / "benchmarks/metrics.json").read_text())
    with np.load(golden / "benchmarks/metrics.npz") as arrays:
        targets, ids = arrays["y_true"].astype(np.float64), arrays["boot_ids"]
        first, second = arrays["y_score"], arrays["y_score2"]
    found = published_interval(lambda rows: mean_auroc(targets[rows], first[rows]), len(targets), ids)
    expected = wanted["bootstrap"]
    assert found.text == expected["report"]
    assert [found.point, found.mean, found.low, found.high] == pytest.approx(
        [expected[key] for key in ("point", "mean", "lower_q05", "upper_q95")], rel=1e-9
    )

    def both(rows):
        one, other = (mean_auroc(targets[rows], scores[rows]) for scores in (first, second))
        return {"one": one, "difference": one - other}

    ends, whole = intervals(both, ids), both(np.arange(len(targets)))
    for name, key in (("one", "bootstrap_empirical_95"), ("difference", "paired_bootstrap_diff_95")):
        np.testing.assert_allclose(ends[name], [wanted[key]["low"], wanted[key]["high"]], rtol=1e-9)
    assert whole["difference"] == pytest.approx(wanted["paired_bootstrap_diff_95"]["point"], rel=1e-9)


def test_the_bracket_is_the_farther_end_in_thousandths_rounded_down():
    assert PublishedInterval(0.9251, 0.925, 0.9172, 0.9290).text == "0.925(07)"
    assert PublishedInterval(0.5, 0.5, 0.49, 0.6239).text == "0.500(123)"


def test_a_resample_without_a_value_makes_no_published_interval_undefined():
    values = iter([0.6, np.nan, 0.8, 0.7])
    found = published_interval(lambda rows: next(values), 5, [np.arange(5)] * 3)
    assert (found.point, found.mean) == (0.7, pytest.approx(0.7)) and 0.6 < found.low < found.high < 0.8


def test_every_resample_has_positives_of_every_label_that_has_any():
    targets = np.zeros((50, 3))
    targets[:25, 0], targets[7, 1] = 1, 1
    drawn = list(resampled_with_positives(targets, 20, seed=0))
    assert len(drawn) == 20 and all(7 in rows and len(rows) == 50 for rows in drawn)
    again = list(resampled_with_positives(targets, 20, seed=0))
    np.testing.assert_array_equal(drawn, again)
    with pytest.raises(ConfigError, match="none of 1000 resamples of 50 items has positives of all 50 labels"):
        next(resampled_with_positives(np.eye(50), 1, seed=0))


def test_runs_differ_by_the_deviation_of_a_sample():
    assert spread([1, 2, 3]) == {"mean": 2, "std": 1}
    assert np.isnan(spread([1.0])["std"])
