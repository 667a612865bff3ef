"""The augmentations of ST-MEM, with the draws of the published ones: golden/st_mem."""

import numpy as np
import pytest

from ecg_signals.config import ConfigError
from ecg_signals.data.transforms.pipeline import build_pipeline, loses_leads
from ecg_signals.registry import get_entry

SINGLE = ["erase", "flip", "drop", "cutout", "shift", "sine", "square", "white_noise", "rlm"]
OPS = [*SINGLE, "partial_sine", "partial_square", "partial_white_noise"]


def options(*names, **more):
    values = {"perturbation_mode": list(names), **more}
    return get_entry("dataset", "ecg_file").dataclass.from_mapping(values, where="dataset")


@pytest.fixture(scope="module")
def vectors(golden):
    with np.load(golden / "st_mem" / "transforms" / "transforms.npz") as found:
        return dict(found)


def alone(name, **more):
    """The augmentation itself, without the pipeline's own draw."""
    ((transform, _),) = build_pipeline(options(name, **more), 250).steps
    return transform


@pytest.mark.parametrize("name", OPS)
def test_one_augmentation_draws_and_computes_as_published(name, vectors):
    found = alone(name)(vectors["aug_input"], np.random.RandomState(503), range(12))
    np.testing.assert_allclose(found, vectors[f"aug_default_{name}"], atol=1e-5)


@pytest.mark.parametrize("name", OPS)
def test_half_the_level_is_half_the_strength(name, vectors):
    ops = [name]
    augment = alone("rand_augment", augment_ops=ops, augment_layers=1, augment_level=5).ops[0]
    found = augment(vectors["aug_input"], np.random.RandomState(503), range(12))
    np.testing.assert_allclose(found, vectors[f"aug_level5_{name}"], atol=1e-5)


def test_rand_augment_draws_as_published(vectors):
    augment, draws = alone("rand_augment"), np.random.RandomState(504)
    found = [augment(vectors["aug_input"], draws, range(12)) for _ in range(5)]
    np.testing.assert_allclose(np.stack(found), vectors["rand_augment_5"], atol=1e-5)


def test_random_lead_masking_of_a_batch_is_the_published_one(golden):
    with np.load(golden / "st_mem" / "mtae_rlm" / "rlm.npz") as found:
        draws, mask = np.random.RandomState(int(found["seed"])), alone("rlm")
        masked = np.stack([mask(signal, draws, range(12)) for signal in found["series"]])
        np.testing.assert_allclose(masked, found["series_after_rlm"], atol=1e-5)
        np.testing.assert_array_equal(~masked.any(axis=2), found["masked_leads"])


def test_masked_leads_are_as_frequent_as_published(golden):
    mask, draws, signal = alone("rlm"), np.random.default_rng(0), np.random.default_rng(1).standard_normal((12, 20))
    counts = [12 - mask(signal, draws, range(12)).any(axis=1).sum() for _ in range(2000)]
    with np.load(golden / "st_mem" / "mtae_rlm" / "rlm.npz") as found:
        published = found["masked_lead_count_2000_hist"]
    np.testing.assert_allclose(np.bincount(counts, minlength=13), published, atol=60)
    assert np.mean(counts) == pytest.approx(12 * 0.3, abs=0.15)


def test_a_shift_goes_either_way_and_zeros_follow():
    shift, signal = alone("shift"), np.arange(1, 101, dtype=np.float32)[None].repeat(2, axis=0)
    found = [shift(signal, np.random.default_rng(seed), range(2))[0] for seed in range(20)]
    later, earlier = [row for row in found if row[0] == 0], [row for row in found if row[-1] == 0]
    assert later and earlier and len(later) + len(earlier) <= 20
    assert all(np.diff(row[row > 0]).max() == 1 for row in found)


def test_rand_augment_keeps_its_leads_unless_an_op_takes_one():
    assert loses_leads(options("rand_augment"), 250)
    assert not loses_leads(options("rand_augment", augment_ops=["flip", "sine"]), 250)


@pytest.mark.parametrize("wrong", [{"augment_ops": ["flip"]}, {"augment_ops": ["rand_augment", "flip"]},
                                   {"augment_ops": ["flip", "flip"]}])  # fmt: skip
def test_rand_augment_says_what_it_cannot_draw_from(wrong):
    with pytest.raises(ConfigError, match=r"task.augment_ops"):
        build_pipeline(options("rand_augment", **wrong), 250)
