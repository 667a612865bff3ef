"""HuBERT-ECG's preprocessing against what its own code computes."""

import numpy as np
import pytest
import scipy.signal

from ecg_signals.config import ConfigError, UsageError
from ecg_signals.signal.hubert_ecg import band_pass, decimate_crop, hubert_preprocess, scale_leads
from ecg_signals.signal.missing import nan_to_mean
from ecg_signals.signal.resample import resample_fourier


@pytest.fixture(scope="module")
def stored(golden):
    return np.load(golden / "hubert_ecg/preprocessing/preprocessing.npz")


@pytest.fixture(scope="module")
def items(golden):
    return np.load(golden / "hubert_ecg/dataset/dataset_items.npz")


def test_each_stage_equals_the_reference(stored):
    rate = int(stored["fs_0"])
    filtered = band_pass(stored["raw_0"], rate)
    np.testing.assert_allclose(filtered, stored["filtered_0"], atol=1e-6)
    resampled = resample_fourier(filtered, rate, 500)
    np.testing.assert_allclose(resampled, stored["resampled_0"], atol=1e-6)
    np.testing.assert_allclose(scale_leads(resampled), stored["scaled_0"], atol=1e-6)


@pytest.mark.parametrize("name", ["0", "1", "fs100", "fs250", "fs257", "fs500", "fs1000", "constlead", "nan"])
def test_records_of_every_rate_equal_the_reference(stored, name):
    rate = int(name[2:]) if name.startswith("fs") else int(stored["fs_1" if name == "1" else "fs_0"])
    result = hubert_preprocess(stored[f"raw_{name}"], rate)
    expected = stored[f"scaled_{name}"]
    np.testing.assert_allclose(result[: len(expected)], expected, atol=1e-6)


def test_another_band_equals_the_reference(stored):
    result = hubert_preprocess(stored["raw_0"][:, :2000], int(stored["fs_0"]), (0.5, 40))
    np.testing.assert_allclose(result, stored["scaled_band_0p5_40"], atol=1e-6)


@pytest.mark.parametrize("factor", [None, 5, 10])
def test_decimated_crops_equal_the_reference(golden, items, factor):
    for index in range(2):
        crop = np.load(golden / "hubert_ecg/dataset/ecgs" / str(items[f"file_{index}"]))[:, :2500]
        result = decimate_crop(nan_to_mean(crop), factor)
        np.testing.assert_allclose(result.reshape(-1), items[f"ecg_{index}_ds{factor}"], atol=1e-5)


def test_missing_values_and_padding_go_through_decimation_as_in_the_reference(items):
    for name in ("nan", "pad"):
        for factor in (None, 5):
            result = decimate_crop(nan_to_mean(items[f"{name}_in"]), factor)
            np.testing.assert_allclose(result.reshape(-1), items[f"{name}_out_ds{factor}"], atol=1e-5)


@pytest.mark.parametrize("factor", [5, 10])
def test_crops_of_double_precision_are_decimated_in_double_precision(factor):
    crop = np.random.default_rng(3).uniform(-1, 1, (12, 2500))
    expected = scipy.signal.decimate(crop.reshape(-1), factor).astype(np.float32)
    np.testing.assert_array_equal(decimate_crop(crop, factor).reshape(-1), expected)


def test_decimating_each_lead_keeps_its_edges_apart(golden, items):
    crop = np.load(golden / "hubert_ecg/dataset/ecgs" / str(items["file_0"]))[:, :2500]
    result = decimate_crop(crop, 5, flat=False)
    np.testing.assert_allclose(result.reshape(-1), items["ecg_0_per_lead_decimated"], atol=1e-5)
    alone = np.concatenate([decimate_crop(lead[None], 5) for lead in crop])
    np.testing.assert_array_equal(result, alone)


def test_short_or_slow_records_and_odd_factors_are_refused():
    with pytest.raises(ConfigError, match=r"more than 453 samples \(0.9 s\), found 0.90 s"):
        hubert_preprocess(np.zeros((12, 450)), 500)
    with pytest.raises(ConfigError, match=r"more than 94.0 Hz, found 90 Hz"):
        hubert_preprocess(np.zeros((12, 4500)), 90)
    with pytest.raises(UsageError, match=r"2500 samples cannot be decimated by 7"):
        decimate_crop(np.zeros((12, 2500)), 7)
