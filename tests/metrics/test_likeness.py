"""The distance of a record from those of the validation."""

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from ecg_signals.metrics.likeness import DIRECTIONS, LEAST, distances, fit


def drawn(count, dim, seed=0):
    draws = np.random.default_rng(seed)
    return draws.standard_normal((count, dim)) @ np.random.default_rng(9).standard_normal((dim, dim)) + 3


def parts(count):
    return [np.arange(count) % 5 == fold for fold in range(5)]


@pytest.mark.parametrize(("count", "dim"), [(200, 40), (60, 64), (LEAST, 3)])
def test_it_is_mahalanobis_by_the_covariance_of_ledoit_and_wolf(count, dim):
    known, new = drawn(count, dim), drawn(20, dim, 1)
    found = distances(fit(known, parts(count)), new)
    reference = LedoitWolf().fit(known)
    np.testing.assert_allclose(found, np.sqrt(reference.mahalanobis(new)), rtol=1e-3 if count < dim else 1e-4)


def test_of_long_vectors_the_smaller_variances_are_taken_to_be_the_same():
    known, new = drawn(300, 100), drawn(20, 100, 1)
    values, vectors = np.linalg.eigh(LedoitWolf().fit(known).covariance_)
    values[:-DIRECTIONS] = values[:-DIRECTIONS].mean()
    along = (new - known.mean(axis=0)) @ vectors
    found = distances(fit(known, parts(300)), new)
    np.testing.assert_allclose(found, np.sqrt((along**2 / values).sum(axis=1)), rtol=1e-4)


def test_few_records_of_the_kind_are_beyond_the_limit_and_others_are():
    found = fit(drawn(1000, 30), parts(1000))
    assert (distances(found, drawn(2000, 30, 1)) > found["limit"]).mean() == pytest.approx(0.005, abs=0.005)
    assert (distances(found, drawn(100, 30, 1) + 25) > found["limit"]).all()


def test_too_few_or_equal_vectors_tell_nothing():
    assert fit(drawn(LEAST - 1, 5), parts(LEAST - 1)) is None
    assert fit(np.ones((100, 5)), parts(100)) is None
    assert fit(np.full((100, 5), np.nan), parts(100)) is None


def test_what_is_stored_is_plain_and_short():
    found = fit(drawn(500, 768), parts(500))
    assert len(found["directions"]) == DIRECTIONS and len(found["directions"][0]) == 768
    assert all(type(value) is float for row in found["directions"] for value in row)
    assert max(len(repr(value)) for value in found["mean"]) < 13


@pytest.mark.slow
def test_a_model_tells_ecgs_from_what_is_none(data, golden):
    import measure_likeness as measured
    from measure_quality import records_of

    from ecg_signals.inference.predict import Predictor

    predictor = Predictor(golden / "fairseq_signals_trained" / "finetune" / "checkpoint_last.pt")
    records = [record for _, record in records_of([data / "ptbxl_500" / "records500"])]
    found = measured.measured(predictor, records)
    assert found.pop("")[1] <= 0.02
    assert len(found) == 5 and min(auroc for auroc, _ in found.values()) >= 0.9, found
