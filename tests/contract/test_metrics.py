"""What every registered metric promises."""

import numpy as np
import pytest

from ecg_signals.config import UsageError
from ecg_signals.metrics.base import Scored, fill, make_metrics, measure
from ecg_signals.metrics.logits import CLASSES, LABELS, VALUES
from ecg_signals.registry import register_metric

NAMES = [name for name in register_metric.names() if name in register_metric.ours()]
ITEMS, COLUMNS = 60, 4
RNG = np.random.default_rng(0)
TARGETS = {
    LABELS: (RNG.random((ITEMS, COLUMNS)) < 0.4).astype(float),
    CLASSES: RNG.integers(COLUMNS, size=ITEMS),
    VALUES: RNG.standard_normal((ITEMS, COLUMNS)),
}
GUESSES = RNG.random((ITEMS, COLUMNS))
CASES = [(name, kind) for name in NAMES for kind in register_metric.get(name).cls.kinds]


def value(name: str, kind: str, scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return measure(make_metrics([name], kind), Scored.of(scores, targets, kind))[name]


def perfect(kind: str) -> np.ndarray:
    if kind == CLASSES:
        return np.eye(COLUMNS)[TARGETS[CLASSES]]
    return TARGETS[kind]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_model_without_fault_gets_the_best_value_and_a_guess_a_worse_one(name, kind):
    metric = register_metric.get(name).cls
    best, guessed = (value(name, kind, scores, TARGETS[kind]) for scores in (perfect(kind), GUESSES))
    np.testing.assert_allclose(best, metric.best)
    assert best.shape == guessed.shape == (() if metric.of_set else (COLUMNS,))
    assert (guessed < metric.best if metric.higher_is_better else guessed > metric.best).all()


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_order_of_items_does_not_matter(name, kind):
    order = np.random.default_rng(1).permutation(ITEMS)
    shuffled = value(name, kind, GUESSES[order], TARGETS[kind][order])
    np.testing.assert_allclose(shuffled, value(name, kind, GUESSES, TARGETS[kind]), rtol=1e-12)


@pytest.mark.parametrize(("name", "kind"), [case for case in CASES if case[1] != CLASSES])
def test_unknown_targets_count_for_nothing(name, kind):
    targets = TARGETS[kind].copy()
    targets[:20] = np.nan
    np.testing.assert_allclose(
        value(name, kind, GUESSES, targets), value(name, kind, GUESSES[20:], TARGETS[kind][20:]), rtol=1e-12
    )


@pytest.mark.parametrize(
    ("name", "kind"), [case for case in CASES if case[1] == LABELS and not register_metric.get(case[0]).cls.of_set]
)
def test_a_label_without_what_it_needs_is_undefined_and_only_that_one(name, kind):
    needs = register_metric.get(name).cls.needs
    targets = TARGETS[kind].copy()
    targets[:, 0], targets[:, 1] = 0, 1  # without positives, without negatives
    undefined = ["positives" in needs, "negatives" in needs, False, False]
    assert np.isnan(value(name, kind, GUESSES, targets)).tolist() == undefined
    zeros = fill(value(name, kind, GUESSES, targets), "zero")
    assert (zeros[np.array(undefined)] == 0).all() and np.isfinite(zeros).all()


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_nothing_known_is_undefined_and_no_error(name, kind):
    empty = (GUESSES[:0], TARGETS[kind][:0])
    assert np.isnan(value(name, kind, *empty)).all()


@pytest.mark.parametrize("name", NAMES)
def test_what_it_cannot_score_is_said(name):
    kinds = register_metric.get(name).cls.kinds
    for kind in {LABELS, CLASSES, VALUES} - set(kinds):
        with pytest.raises(UsageError, match=f"the metric '{name}' scores .*, but the model gives {kind}"):
            make_metrics([name], kind)
