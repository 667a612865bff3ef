"""What every registered step of an input contract promises; `small.yaml` gives each name its options."""

import json
import math
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import yaml

from ecg_signals.registry import register_step
from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.record import Record
from ecg_signals.signal.scale import scale_problem
from ecg_signals.signal.steps.base import make_step

SMALL = yaml.safe_load((Path(__file__).parent / "small.yaml").read_text())["step"]
NAMES = [name for name in register_step.names() if name in register_step.ours()]
RATE, LEADS = 200.0, ["I", "II", "V1"]
TIME = np.arange(2000) / RATE
BEATS = 1.2 * np.exp(-(((TIME % 0.8) - 0.4) ** 2) / 0.0008)  # mV
SIGNAL = np.stack([0.2 + BEATS, 0.6 * BEATS - 0.1 * np.sin(TIME), -0.9 * BEATS + 0.05 * np.cos(3 * TIME)])


def stored(name: str) -> dict:
    return {"name": name, **SMALL[name].get("options", {})}


def run(step: dict, signal: np.ndarray, rate: float = RATE) -> tuple[np.ndarray, float]:
    return make_step(step)(signal, rate, 100.0)


def test_every_step_has_small_options():
    assert set(NAMES) == set(SMALL)


@pytest.mark.parametrize("name", NAMES)
def test_leads_stay_samples_follow_the_rate_and_the_input_is_left_alone(name):
    before = SIGNAL.copy()
    found, rate = run(stored(name), SIGNAL)
    assert found.shape == (3, round(2000 * rate / RATE)) and np.isfinite(found).all()
    assert math.isclose(rate * make_step(stored(name)).factor, RATE) or name == "resample"
    np.testing.assert_array_equal(SIGNAL, before)


@pytest.mark.parametrize("name", NAMES)
def test_every_lead_is_treated_alike_and_the_same_every_time(name):
    step = stored(name)
    if name == "normalise" or step.get("flat", name == "hubert_decimate"):
        pytest.skip("its leads have numbers of their own, or are filtered laid end to end")
    found, _ = run(step, SIGNAL)
    np.testing.assert_array_equal(run(step, SIGNAL)[0], found)
    np.testing.assert_allclose(run(step, SIGNAL[::-1].copy())[0], found[::-1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in NAMES if SMALL[name].get("again")])
def test_one_that_is_said_to_be_idempotent_is(name):
    once, rate = run(stored(name), SIGNAL)
    np.testing.assert_allclose(run(stored(name), once, rate)[0], once, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_only_one_that_says_so_fills_what_is_missing(name):
    signal = SIGNAL.copy()
    signal[1, 300:400] = np.nan
    assert np.isfinite(run(stored(name), signal)[0]).all() == register_step.get(name).cls.fills_nan


@pytest.mark.parametrize("name", NAMES)
def test_one_that_scales_knows_its_values_from_raw_ones(name):
    step = make_step(stored(name))
    raw = SIGNAL * 300  # as stored, in steps of a few microvolts
    found, _ = run(SMALL[name].get("behind", {"name": "standardise"}), raw) if "behind" in SMALL[name] else (raw, RATE)
    assert scale_problem(run(stored(name), found)[0][None], [step]) is None
    assert (scale_problem(raw[None], [step]) is not None) == bool(step.values)


@pytest.mark.parametrize("where", ["whole record", "window"])
@pytest.mark.parametrize("name", NAMES)
def test_a_stored_contract_with_it_prepares_as_before(name, where):
    if where == "window" and name == "resample":
        return  # behind the mark "window" only whole factors change the rate
    step = make_step(stored(name))
    rate = 100.0 if name == "resample" else RATE / step.factor
    steps = [{"name": "window"}, stored(name)] if where == "window" or step.factor > 1 else [stored(name)]
    contract = SignalContract(rate, LEADS, int(5 * rate), steps)
    again = SignalContract.from_dict(json.loads(json.dumps(contract.to_dict())))
    assert again == contract
    record = Record(SIGNAL.astype(np.float32), RATE, LEADS)
    source = contract.prepare(record)
    assert source.shape == (2, 3, int(5 * rate))
    assert (again.prepare(record) == source).all()


@pytest.mark.parametrize("name", NAMES)
def test_options_have_a_meaning(name):
    assert all(item.name == "_name" or item.metadata["help"] for item in fields(register_step.get(name).dataclass))


def test_contracts_of_earlier_files_keep_their_meaning():
    earlier = [
        {"name": "band_pass"}, {"name": "resample", "method": "fourier", "to": 500}, {"name": "scale"},
        {"name": "window"}, {"name": "nan_to_mean"}, {"name": "pad"}, {"name": "decimate", "factor": 5, "flat": False},
    ]  # fmt: skip
    from ecg_signals.interop.hubert_ecg.contract import hubert_ecg
    from ecg_signals.signal.hubert_ecg import decimate_crop, hubert_preprocess

    contract = SignalContract.from_dict({"sample_rate": 100.0, "leads": LEADS, "window_samples": 500, "steps": earlier})
    assert contract.steps == hubert_ecg(5, flat=False).steps
    source = contract.prepare(Record(SIGNAL.astype(np.float32), RATE, LEADS))
    whole = hubert_preprocess(SIGNAL.astype(np.float32), RATE)
    expected = decimate_crop(whole[:, :2500].astype(np.float32), 5, flat=False)
    np.testing.assert_array_equal(source[0].numpy(), expected)
