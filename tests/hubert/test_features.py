"""Descriptors of shards against the reference."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecg_signals.clustering.features import DescriptorOptions, cut_shards, delta, describe
from ecg_signals.config import ConfigError


@pytest.fixture(scope="module")
def reference(golden: Path) -> dict[str, Any]:
    with np.load(golden / "hubert_ecg/targets/features.npz") as arrays:
        return {key: arrays[key] for key in arrays.files}


def published(kind: str, rate: int) -> DescriptorOptions:
    return DescriptorOptions(kind, rate, low_frequency=20.0, deltas="shard")


@pytest.mark.parametrize("rate", [100, 50, 500])
def test_time_frequency_values_are_the_references(reference: dict[str, Any], rate: int) -> None:
    found = describe(reference["input_0"][None], published("time_freq", rate))
    assert found.shape == (1, 93, 16) and found.dtype == np.float32
    np.testing.assert_allclose(found[0], reference[f"time_freq_0_sr{rate}"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rate", [100, 50, 500])
@pytest.mark.parametrize("kind", ["mfcc", "mixed"])
def test_cepstra_are_the_references(reference: dict[str, Any], kind: str, rate: int) -> None:
    found = describe(reference["input_0"][None], published(kind, rate))
    np.testing.assert_allclose(found[0], reference[f"{kind}_0_sr{rate}"], atol=5e-3, rtol=1e-4)


def test_shards_are_the_references_and_records_do_not_mix(reference: dict[str, Any]) -> None:
    both = np.stack([reference["input_0"], reference["input_1"]])
    shards = cut_shards(both, 100)
    for record in (0, 1):
        np.testing.assert_allclose(shards[record], reference[f"shards_{record}_sr100"], atol=1e-9)
    found = describe(both, published("mixed", 100))
    np.testing.assert_allclose(found[1], reference["mixed_1_sr100"], atol=5e-3, rtol=1e-4)


def test_a_missing_lead_becomes_the_mean_and_an_empty_record_stays_empty() -> None:
    signals = np.random.default_rng(0).uniform(-1, 1, (3, 12, 2600))
    signals[1, 4, 100] = np.nan
    signals[2] = np.nan
    shards = cut_shards(signals, 100)
    assert np.isfinite(shards[:2]).all() and np.isnan(shards[2]).all()
    values = np.delete(shards[1].ravel(), np.s_[4 * 496 : 5 * 496])
    np.testing.assert_allclose(shards[1].ravel()[4 * 496 : 5 * 496], values.mean())
    assert np.isnan(describe(signals, DescriptorOptions("mfcc"))[2]).all()


def test_a_flat_shard_has_finite_values() -> None:
    found = describe(np.full((1, 12, 2500), -1.0), DescriptorOptions("mixed"))
    assert np.isfinite(found).all()
    assert np.isfinite(describe(np.zeros((1, 12, 2500)), DescriptorOptions("mfcc"))).all()


def test_slopes_over_neighbouring_shards_of_a_line_are_its_slope() -> None:
    line = np.broadcast_to(3.0 * np.arange(93)[None, :, None], (2, 93, 4))
    np.testing.assert_allclose(delta(line, "frames")[:, 2:-2], 3.0)
    assert not delta(line, "shard").any()


def test_wrong_inputs_are_named() -> None:
    with pytest.raises(ConfigError, match="12 leads and 2500 samples"):
        describe(np.zeros((1, 12, 2000)), DescriptorOptions())
    with pytest.raises(ConfigError, match="500, 100, 50"):
        DescriptorOptions(sample_rate=250)
    with pytest.raises(ConfigError, match="below 25"):
        describe(np.zeros((1, 12, 2500)), DescriptorOptions("mfcc", 50, low_frequency=25))
