"""What every registered augmentation promises."""

import math
import pickle
from dataclasses import fields

import numpy as np
import pytest

from ecg_signals.config import ConfigError, field_default
from ecg_signals.data.transforms.pipeline import build_pipeline
from ecg_signals.registry import get_entry, register_transform

NAMES = [name for name in register_transform.names() if name in register_transform.ours()]
SIGNAL = np.random.default_rng(3).standard_normal((12, 300)).astype(np.float32)
SURE = {"mask_leads_prob": 1.0}  # so that something changes whatever is drawn
LEADS = [list(range(12)), [1], [0, 1, 5], [11, 3, 6]]


def pipeline(*names, rate=250, **options):
    cfg = get_entry("dataset", "ecg_file").dataclass.from_mapping({"perturbation_mode": list(names), **SURE, **options})
    return build_pipeline(cfg, rate)


@pytest.mark.parametrize("leads", LEADS)
@pytest.mark.parametrize("name", NAMES)
def test_shape_and_type_stay_and_the_input_is_left_alone(name, leads):
    signal = SIGNAL[leads]
    before = signal.copy()
    found = pipeline(name)(signal, np.random.default_rng(1), leads)
    assert found.shape == signal.shape and found.dtype == np.float32
    assert not np.array_equal(found, signal)
    np.testing.assert_array_equal(signal, before)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_signal_and_another_one_another(name):
    made = pipeline(name, mask_leads_prob=0.5)
    first, again, other = (made(SIGNAL, np.random.default_rng(seed), range(12)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.array_equal(first, other) is not register_transform.get(name).cls.random


@pytest.mark.parametrize("name", NAMES)
def test_probability_zero_changes_nothing(name):
    np.testing.assert_array_equal(pipeline(name, p=[0.0])(SIGNAL, np.random.default_rng(1), range(12)), SIGNAL)


@pytest.mark.parametrize("name", NAMES)
def test_published_draws_can_be_replayed(name):
    """numpy's older generator is what published numbers were drawn with."""
    assert pipeline(name)(SIGNAL, np.random.RandomState(1), range(12)).dtype == np.float32


@pytest.mark.parametrize("name", NAMES)
def test_one_that_needs_the_rate_says_so_and_the_others_do_without(name):
    if register_transform.get(name).cls.needs_rate:
        with pytest.raises(ConfigError, match=f"{name} needs the sample rate.*task.sample_rate=HZ"):
            pipeline(name, rate=None)
    else:
        assert pipeline(name, rate=None) is not None


@pytest.mark.parametrize("name", NAMES)
def test_only_one_that_says_so_loses_leads(name):
    lost = any(
        not pipeline(name)(SIGNAL, np.random.default_rng(seed), range(12)).any(axis=1).all() for seed in range(20)
    )
    assert lost is register_transform.get(name).cls.loses_leads


@pytest.mark.parametrize("name", NAMES)
def test_options_have_a_meaning_and_are_the_datasets_typed_in_task(name):
    for item in fields(register_transform.get(name).dataclass):
        if item.name != "_name":
            assert item.metadata["help"]
            held = get_entry("dataset", "cmsc").dataclass.__dataclass_fields__[item.name]
            assert held.metadata["section"] == "task" and held.metadata["help"] == item.metadata["help"]
            assert item.name not in get_entry("task", "ecg_pretraining").dataclass.__dataclass_fields__


def wrong_values(item):
    """Numbers at and beyond the edge of what an option means, pairs among them, and those in the wrong order."""
    default = field_default(item)
    if isinstance(default, tuple):
        lower, upper = default
        return [(upper, lower), (lower, -1), (-1, upper), (lower, math.nan), (0, 0), (2, 3)]
    return [0, -1, 1.5, 40, math.nan] if type(default) in (int, float) else []


@pytest.mark.parametrize("name", NAMES)
def test_a_number_changes_the_item_as_it_should_or_is_an_error_that_names_its_option(name):
    for item in fields(register_transform.get(name).dataclass):
        for value in wrong_values(item):
            numbers = value if isinstance(value, tuple) else (value,)
            try:
                made = pipeline(name, **{"mask_leads_selection": "conditional", item.name: value})
                found = [made(SIGNAL, np.random.default_rng(seed), range(12)) for seed in range(5)]
            except ConfigError as error:
                assert f"task.{item.name}" in str(error).replace("'", "") or item.name in str(error)
            else:
                assert min(numbers) >= 0 or item.name == "warp_step", f"task.{item.name}={value} means nothing"
                assert list(numbers) == sorted(numbers) or item.name == "mask_leads_condition", f"{item.name}={value}"
                assert not ("prob" in item.name or "share" in item.name) or max(numbers) <= 1
                assert np.isfinite(found).all(), f"task.{item.name}={value}"


@pytest.mark.parametrize("key", ["amplitude", "freq"])
def test_a_smallest_value_above_the_largest_is_an_error(key):
    with pytest.raises(ConfigError, match=rf"task\.min_{key}=0\.3 is above task\.max_{key}=0\.2; set"):
        pipeline("baseline_wander", **{f"min_{key}": 0.3, f"max_{key}": 0.2})


def test_a_chance_is_a_share():
    for p in ([1.5], [-0.1], [float("nan")]):
        with pytest.raises(ConfigError, match=r"p=.*0 to 1"):
            pipeline("flip", p=p)


@pytest.mark.parametrize("name", NAMES)
def test_a_pipeline_and_its_options_travel_to_another_process(name):
    made = pickle.loads(pickle.dumps(pipeline(name)))
    expected = pipeline(name)(SIGNAL, np.random.default_rng(1), range(12))
    np.testing.assert_array_equal(made(SIGNAL, np.random.default_rng(1), range(12)), expected)
    cfg = get_entry("dataset", "ecg_file").dataclass.from_mapping({"perturbation_mode": [name], "max_amplitude": 0.3})
    assert pickle.loads(pickle.dumps(cfg)) == cfg
