"""Resampling, standardising, ordering and cutting against what fairseq-signals computes."""

import numpy as np
import pytest
import scipy.io

from ecg_signals.config import ConfigError
from ecg_signals.signal.filters import clean
from ecg_signals.signal.leads import LEADS, derive_limb_leads, order_leads
from ecg_signals.signal.resample import resample_fourier, resample_linear
from ecg_signals.signal.standardise import lead_statistics, standardise_leads
from ecg_signals.signal.windows import segment


@pytest.fixture(scope="module")
def unit(golden):
    return np.load(golden / "wcr/preprocess/unit.npz")


@pytest.mark.parametrize(("rate_in", "rate_out"), [(400, 500), (1000, 500), (257, 500), (500, 500)])
def test_linear_resampling_equals_the_reference(unit, rate_in, rate_out):
    result = resample_linear(unit["x"], rate_in, rate_out)
    np.testing.assert_allclose(result, unit[f"resample_{rate_in}_{rate_out}"], rtol=0, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("constant", ["zero", "nan", "constant"])
def test_standardising_equals_the_reference(unit, constant):
    result = standardise_leads(unit["x"], constant)
    expected = unit[f"std_{constant}"]
    expected = np.where(np.isfinite(expected), expected, np.nan)  # the reference holds -inf for 0 / 0
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12, equal_nan=True)


def test_missing_leads_are_rows_of_nan_as_in_the_reference(unit):
    want = ["I", "II", "V1", "V2"]
    np.testing.assert_array_equal(order_leads(unit["x"][:3], ["V2", "I", "II"], want), unit["reorder_missing"])
    np.testing.assert_array_equal(order_leads(unit["x"], ["V2", "I", "V1", "II"], want), unit["reorder_full"])


def test_raw_records_become_the_published_segments_to_the_last_bit(data):
    for path in sorted((data / "code15/org").glob("*.mat")):
        raw = scipy.io.loadmat(path)
        rate = int(raw["curr_sample_rate"].item())
        pieces = segment(standardise_leads(resample_linear(raw["feats"], rate, 500)), 2500)
        files = sorted((data / "code15/segmented").glob(f"{path.stem}_*.mat"))
        assert len(files) == len(pieces)
        for piece, file in zip(pieces, files):
            np.testing.assert_array_equal(piece, scipy.io.loadmat(file)["feats"])


def test_linear_resampling_keeps_the_ends_and_copes_with_tiny_records():
    signal = np.arange(10.0)[None] ** 2
    result = resample_linear(signal, 100, 250)
    assert result.shape == (1, 25) and result[0, 0] == 0 and result[0, -1] == 81
    assert resample_linear(signal[:, :1], 100, 300).tolist() == [[0.0, 0.0, 0.0]]
    assert resample_linear(signal[:, 2:4], 200, 100).tolist() == [[4.0]]
    assert resample_linear(signal[:, :1], 500, 100).shape == (1, 0)


def test_a_rate_of_zero_is_refused():
    with pytest.raises(ConfigError, match=r"must be positive"):
        resample_linear(np.zeros((1, 5)), 0, 500)


def test_fourier_resampling_keeps_a_sine():
    time_in, time_out = np.arange(1000) / 250, np.arange(2000) / 500
    result = resample_fourier(np.sin(2 * np.pi * 5 * time_in)[None], 250, 500)
    np.testing.assert_allclose(result[0], np.sin(2 * np.pi * 5 * time_out), atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(12, 5000), (13, 2501), (2, 1), (3, 40000)])
def test_the_spread_is_numpys_to_the_last_bit(dtype, order, shape):
    signal = np.array(1000 * np.random.default_rng(0).standard_normal(shape) + 77, dtype=dtype, order=order)
    mean, spread = lead_statistics(signal)
    centred = signal - mean[:, None]
    np.testing.assert_array_equal(mean, signal.mean(axis=-1, dtype=np.float64))
    np.testing.assert_array_equal(spread, centred.std(axis=-1))
    spread[spread == 0] = 1  # a single sample
    np.testing.assert_array_equal(standardise_leads(signal), centred / spread[:, None])


def test_a_lead_that_ends_where_it_begins_is_not_constant():
    signal = np.array([[1.0, 3, 1], [1, 1, 1]])
    mean, spread = lead_statistics(signal)
    assert mean.tolist() == [5 / 3, 1] and spread[0] > 0 and spread[1] == 0


def test_a_constant_lead_has_no_spread_whatever_rounding_does():
    signal = np.full((1, 4999), 0.1)
    mean, spread = lead_statistics(signal)
    assert mean[0] == 0.1 and spread[0] == 0
    assert not standardise_leads(signal).any()


def test_leads_are_found_in_any_case_and_order():
    signal = np.arange(12.0)[:, None] * np.ones(3)
    names = [name.upper() for name in reversed(LEADS)]
    np.testing.assert_array_equal(order_leads(signal[::-1], names, LEADS), signal)


@pytest.mark.parametrize("pair", [("I", "II"), ("aVR", "aVF"), ("III", "aVL")])
def test_any_two_limb_leads_give_the_other_four(pair):
    rng = np.random.default_rng(0)
    one, two = rng.standard_normal((2, 50))
    limb = np.stack([one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2])
    known = np.where([[name in pair] for name in LEADS[:6]], limb, np.nan)
    result, derived = derive_limb_leads(known, LEADS[:6])
    np.testing.assert_allclose(result, limb, atol=1e-12)
    assert derived == [name for name in LEADS[:6] if name not in pair]


def test_one_limb_lead_or_none_derives_nothing():
    signal = np.full((12, 4), np.nan)
    signal[0] = signal[7] = 1
    result, derived = derive_limb_leads(signal, LEADS)
    assert derived == [] and np.isnan(result[1]).all()


def test_windows_start_at_every_stride_and_the_rest_is_dropped():
    signal = np.arange(22).reshape(2, 11)
    assert segment(signal, 4)[:, 0].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert segment(signal, 4, stride=3)[:, 1, 0].tolist() == [11, 14, 17]
    assert segment(signal, 12).shape == (0, 2, 12)


def test_cleaning_removes_baseline_and_hum_but_keeps_the_beat():
    time = np.arange(5000) / 500
    beat = np.sin(2 * np.pi * 8 * time)
    cleaned = clean((beat + 3 + np.sin(2 * np.pi * 0.02 * time) + np.sin(2 * np.pi * 50 * time))[None], 500)[0]
    middle = slice(2000, 3000)
    factor = (np.sin(np.pi * 8 * 10 / 500) / (10 * np.sin(np.pi * 8 / 500))) ** 2  # a 10-sample average, twice
    np.testing.assert_allclose(cleaned[middle], factor * beat[middle], atol=2e-2)


def test_cleaning_a_snippet_says_how_long_a_record_must_be():
    with pytest.raises(ConfigError, match=r"needs more than"):
        clean(np.zeros((1, 20)), 500)
