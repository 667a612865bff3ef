"""The reference's outputs come from numpy's older generator, seeded; the same draws are stored beside them."""

import numpy as np
import pytest

from ecg_signals.config import ConfigError, UsageError
from ecg_signals.data.transforms.baseline_shift import add_shift
from ecg_signals.data.transforms.baseline_wander import add_wander
from ecg_signals.data.transforms.emg_noise import add_emg
from ecg_signals.data.transforms.limb_leads import recompute_limb_leads
from ecg_signals.data.transforms.pipeline import build_pipeline
from ecg_signals.data.transforms.powerline_noise import add_powerline
from ecg_signals.data.transforms.random_leads_masking import keep_leads
from ecg_signals.data.transforms.three_kg import rotation_zyx, three_kg_view, three_kg_views
from ecg_signals.registry import get_entry

ALL = range(12)
SIGNAL = np.random.default_rng(3).standard_normal((12, 300)).astype(np.float32)
VIEWS = [("kg_full", (45, 1.5, 0.5)), ("kg_rot_only", (30, 0, 0)), ("kg_scale_mask", (0, 2.0, 0.3))]


@pytest.fixture
def reference(golden):
    drawn, expected = (np.load(golden / f"wcr/augment/{name}puts.npz") for name in ("in", "out"))
    return drawn, expected, lambda: np.random.RandomState(int(drawn["np_seed"]))


def steps(**options):
    return get_entry("dataset", "ecg_file").dataclass.from_mapping(options)


def augment(name, signal, rng, leads=ALL, **options):
    return build_pipeline(steps(perturbation_mode=[name], **options), 500)(signal, rng, leads)


def close(found, wanted):
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_seeded_augmentations_equal_the_reference(reference):
    drawn, expected, rng = reference
    x = drawn["source"]
    for prob in (0.5, 0.2):
        close(augment("random_leads_masking", x, rng(), mask_leads_prob=prob), expected[f"rlm_p{prob}"])
    for dep in (True, False):
        options = {"dependency": dep, "max_amplitude": 0.5}
        shift = {"max_amplitude": 0.25, "num_segment": 2, "shift_form": "published"}
        found = {
            "powerline": augment("powerline_noise", x, rng(), **options, min_amplitude=0.1),
            "emg": augment("emg_noise", x, rng(), **options),
            "shift": augment("baseline_shift", x, rng(), **{**options, **shift}),
            "wander": augment("baseline_wander", x, rng(), **options),
        }
        for key, value in found.items():
            close(value, expected[f"{key}_dep{dep}"])
    for name, (angle, scale, ratio) in VIEWS:
        for number, view in enumerate(three_kg_views(x, rng(), angle=angle, scale=scale, mask_ratio=ratio), 1):
            close(view, expected[f"{name}/view{number}"])


def test_formulas_on_stored_draws_equal_the_reference(reference):
    drawn, expected, _ = reference
    x = drawn["source"]
    close(keep_leads(x, drawn["rlm_p0.5/lead_draws"] >= 0.5), expected["rlm_p0.5"])

    for name in ("True", "False"):

        def get(key, name=name):
            return drawn[key.replace("_dep", f"_dep{name}")]

        hz = 50.0 if get("powerline_dep/f50") else 60.0
        found = {
            "powerline": add_powerline(x, get("powerline_dep/amp"), hz, float(get("powerline_dep/phase")), 500),
            "emg": add_emg(x, get("emg_dep/amp"), get("emg_dep/normal")),
            "shift": add_shift(
                x, get("shift_dep/amp_channel"), get("shift_dep/amp_general"), get("shift_dep/spans"), published=True
            ),
            "wander": add_wander(
                x, *(get(f"wander_dep/{key}") for key in ("amp_channel", "amp_general", "freqs", "phases")), 500
            ),
        }
        for key, value in found.items():
            close(recompute_limb_leads(value, ALL) if name == "True" else value, expected[f"{key}_dep{name}"])
    angles, scales, starts = (drawn[f"kg_full/{key}"] for key in ("angles", "scales", "starts"))
    for view in range(2):
        axes, rows = slice(3 * view, 3 * view + 3), slice(12 * view, 12 * view + 12)
        found = three_kg_view(x, angles[axes], scales[axes], starts[rows], x.shape[1] // 2)
        close(found, expected[f"kg_full/view{view + 1}"])


def test_a_shift_is_sign_times_amplitude_by_default():
    shifted = add_shift(np.zeros((2, 10), np.float32), np.array([[1], [-1]]), 0.25, [(2, 4), (3, 6)])
    np.testing.assert_allclose(shifted[0], [0, 0, 0.25, 0.25, 0.25, 0.25, 0, 0, 0, 0])
    np.testing.assert_allclose(shifted[1], -shifted[0])


def test_limb_leads_follow_from_the_rows_that_hold_i_and_ii():
    leads = [6, 1, 3, 0, 5]  # V1 II aVR I aVF
    signal = SIGNAL[leads].copy()
    found = recompute_limb_leads(signal.copy(), leads)
    np.testing.assert_allclose(found[2], -(signal[3] + signal[1]) / 2, rtol=1e-6)
    np.testing.assert_allclose(found[4], signal[1] - signal[3] / 2, rtol=1e-6)
    np.testing.assert_array_equal(found[[0, 1, 3]], signal[[0, 1, 3]])
    np.testing.assert_array_equal(recompute_limb_leads(SIGNAL[[0, 2]].copy(), [0, 2]), SIGNAL[[0, 2]])


NOISES = ["powerline_noise", "emg_noise", "baseline_shift", "baseline_wander"]


@pytest.mark.parametrize("leads, limb, chest", [(list(ALL), 4, 5), ([0, 1, 6], 2, 1), ([7, 8], 0, 2)])
def test_conditional_masking_zeroes_fixed_numbers_of_limb_and_chest_leads(leads, limb, chest):
    drawn = set()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        found = augment("random_leads_masking", SIGNAL[leads], rng, leads, mask_leads_selection="conditional")
        zero = [lead for lead, row in zip(leads, found) if not row.any()]
        assert (sum(lead < 6 for lead in zero), sum(lead >= 6 for lead in zero)) == (limb, chest)
        drawn.add(tuple(zero))
    assert len(drawn) > 20 or len(leads) < 12


def test_masking_loses_each_lead_with_its_probability():
    rng = np.random.default_rng(0)
    masked = [augment("random_leads_masking", SIGNAL, rng, mask_leads_prob=0.3) for _ in range(800)]
    lost = np.mean([~signal.any(axis=1) for signal in masked])
    assert lost == pytest.approx(0.3, abs=0.03)


def test_augmentations_run_in_the_order_of_the_recipe_with_their_own_probabilities():
    options = {"perturbation_mode": ["random_leads_masking", "emg_noise"], "mask_leads_prob": 1.0, "dependency": False}
    noisy = build_pipeline(steps(p=[1.0, 1.0], **options), 500)(SIGNAL, np.random.default_rng(2), ALL)
    assert noisy.any()
    silent = build_pipeline(steps(p=[1.0, 0.0], **options), 500)(SIGNAL, np.random.default_rng(2), ALL)
    assert not silent.any()


@pytest.mark.parametrize(
    "error, message, options, rate",
    [
        (UsageError, "did you mean 'emg_noise'", {"perturbation_mode": ["emg_nois"]}, 500),
        (ConfigError, "expected one probability", {"perturbation_mode": NOISES, "p": [1.0, 1.0]}, 500),
        (ConfigError, r"p=\[1\.5\]; set p to 0 to 1 in every entry", {"perturbation_mode": NOISES, "p": [1.5]}, 500),
        (ConfigError, "powerline_noise needs the sample rate", {"perturbation_mode": NOISES}, None),
        (
            ConfigError,
            "set mask_leads_condition to 0 to 6",
            {
                "perturbation_mode": ["random_leads_masking"],
                "mask_leads_selection": "conditional",
                "mask_leads_condition": [7, 1],
            },
            500,
        ),
    ],
)
def test_options_that_do_not_fit_are_named(error, message, options, rate):
    with pytest.raises(error, match=message):
        build_pipeline(steps(**options), rate)


def test_rotations_turn_about_the_axes():
    np.testing.assert_allclose(rotation_zyx(np.array([90.0, 0, 0])) @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(rotation_zyx(np.array([0, 90.0, 0])) @ [0, 0, 1], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(rotation_zyx(np.array([0, 0, 90.0])) @ [0, 1, 0], [0, 0, 1], atol=1e-12)
    turned = rotation_zyx(np.array([10.0, 20, 30]))
    np.testing.assert_allclose(turned @ turned.T, np.eye(3), atol=1e-12)


def test_a_blanked_window_wraps_to_the_beginning():
    view = three_kg_view(np.ones((12, 10)), np.zeros(3), np.ones(3), np.full(12, 8), 4)
    assert (view[0] == 0).tolist() == [True, True, *[False] * 6, True, True]


def test_views_obey_einthoven_and_differ():
    first, second = three_kg_views(SIGNAL, np.random.default_rng(0), mask_ratio=0)
    assert not np.allclose(first, second)
    np.testing.assert_allclose(first[2], first[1] - first[0], atol=1e-5)
