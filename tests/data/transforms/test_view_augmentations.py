"""The augmentations of self-supervision by views: closed forms, symmetries, and signals that they leave alone."""

import numpy as np
import pytest

from ecg_signals.config import ConfigError
from ecg_signals.data.transforms.pipeline import build_pipeline
from ecg_signals.registry import get_entry

SAMPLES = 400
RAMP = np.outer([1.0, -2.0], np.arange(SAMPLES)).astype(np.float32)  # a sample's value tells its instant
NOISE = np.random.default_rng(0).standard_normal((12, SAMPLES)).astype(np.float32)
WARPS = ("random_resized_crop", "time_warp", "dynamic_time_warp", "down_sample")


def apply(name, signal, seed=0, **options):
    cfg = get_entry("dataset", "ecg_file").dataclass.from_mapping({"perturbation_mode": [name], **options}, "task")
    ((transform, _),) = build_pipeline(cfg, None).steps
    return transform(signal, np.random.default_rng(seed), range(len(signal)))


@pytest.mark.parametrize("name", WARPS)
def test_time_never_turns_back_and_is_one_for_all_leads(name):
    for seed in range(5):
        found = apply(name, RAMP, seed)
        assert (np.diff(found[0]) >= -1e-4).all() and found[0].min() >= 0 and found[0].max() <= SAMPLES - 1
        np.testing.assert_allclose(found[1], -2 * found[0], rtol=1e-5)
        constant = np.full((3, SAMPLES), 0.7, dtype=np.float32)
        np.testing.assert_allclose(apply(name, constant, seed), constant, rtol=1e-6)


def test_a_resized_crop_is_a_stretch_from_end_to_end_whose_samples_are_joined_by_lines():
    lengths, starts = [], []
    for seed in range(300):
        found = apply("random_resized_crop", RAMP, seed)[0]
        whole = found[np.abs(found - found.round()) < 1e-3].round()
        assert found[0] in whole and found[-1] in whole
        assert set(np.arange(found[0], found[-1] + 1)) <= set(whole)  # every sample of the crop is there
        lengths.append(found[-1] - found[0] + 1)
        starts.append(found[0])
    assert 200 <= min(lengths) < 210 and 390 < max(lengths) < 400 and np.mean(lengths) == pytest.approx(300, abs=12)
    assert min(starts) == 0 and max(starts) > 150
    assert np.array_equal(apply("random_resized_crop", NOISE, crop_share=[1.0, 1.0]), NOISE)


def test_down_sampling_keeps_a_share_of_the_samples_and_joins_them_by_lines():
    found = apply("down_sample", NOISE)
    kept = (found == NOISE).all(axis=0)
    assert kept.sum() == 320 and kept[0] and kept[-1]
    places = np.flatnonzero(kept)
    np.testing.assert_allclose(found[3], np.interp(np.arange(SAMPLES), places, NOISE[3, places]), atol=1e-6)


def test_a_time_warp_has_the_pace_of_its_limits_and_keeps_both_ends():
    for seed in range(20):
        found = apply("time_warp", RAMP, seed)[0]
        paces = np.diff(found)
        assert found[0] == 0 and found[-1] == pytest.approx(SAMPLES - 1, abs=1e-3)
        assert 1 / 1.5**2 - 0.01 < paces.min() < 1 < paces.max() < 1.5**2 + 0.01
    np.testing.assert_allclose(apply("time_warp", NOISE, warp_pace=1.0), NOISE, atol=1e-4)


def test_a_dynamic_time_warp_moves_single_places_and_little_else():
    moved = np.abs(apply("dynamic_time_warp", RAMP, 3, warps=1)[0] - RAMP[0])
    assert moved.max() == pytest.approx(2, abs=0.01) and (moved > 1e-3).sum() == 19
    np.testing.assert_array_equal(apply("dynamic_time_warp", NOISE, warps=0), NOISE)
    with pytest.raises(ConfigError, match=r"warp_step=10 with task\.warp_radius=10 turns time back"):
        apply("dynamic_time_warp", NOISE, warp_step=10)


def test_time_out_blanks_one_stretch_of_a_fifth_to_two_fifths():
    lengths = []
    for seed in range(200):
        blank = (apply("time_out", NOISE, seed) == 0).all(axis=0)
        assert np.count_nonzero(np.diff(blank.astype(int))) <= 2
        lengths.append(blank.sum())
    assert 80 <= min(lengths) < 85 and 154 < max(lengths) < 160


def test_leads_get_gains_whose_logarithms_are_even():
    found = apply("lead_gain", NOISE) / NOISE
    np.testing.assert_allclose(found, np.broadcast_to(found[:, :1], found.shape), rtol=1e-4)
    gains = np.concatenate([apply("lead_gain", NOISE, seed)[:, 0] / NOISE[:, 0] for seed in range(100)])
    assert 0.5 <= gains.min() < 0.52 and 1.95 < gains.max() <= 2.0
    assert np.log(gains).mean() == pytest.approx(0, abs=0.05)


def test_a_blur_is_a_convolution_with_its_weights():
    pulse = np.zeros((1, 11), dtype=np.float32)
    pulse[0, 5] = 1
    np.testing.assert_allclose(apply("blur", pulse)[0, 3:8], [0.1, 0.2, 0.4, 0.2, 0.1], rtol=1e-6)
    np.testing.assert_allclose(apply("blur", pulse + 1) - 1, apply("blur", pulse), atol=1e-6)
    np.testing.assert_allclose(apply("blur", pulse, blur_kernel=[1, 0, 0])[0].argmax(), 6)
    with pytest.raises(ConfigError, match=r"odd number, such as \[0.2,0.6,0.2\]"):
        apply("blur", pulse, blur_kernel=[0.5, 0.5])
