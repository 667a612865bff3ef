"""A record's quality: what is wrong is found on real records spoilt on purpose, and sound ones are left in peace."""

from dataclasses import replace
from pathlib import Path

import ecg_signals.sample
import measure_quality as measured
import numpy as np
import pytest
from scipy.signal import chirp, resample

from ecg_signals.config import ConfigError
from ecg_signals.quality.assess import assess, refuse_unusable, without_flat
from ecg_signals.readers.read import read_record
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.record import Record

FILES = sorted(Path(next(iter(ecg_signals.sample.__path__))).glob("records500/*/*.hea"))
TIME = np.arange(5000) / 500


@pytest.fixture(scope="module")
def plain():
    """A sound record of 10 s at 500 Hz."""
    return read_record(FILES[2])


def changed(record, signal=None, rows=None, **values):
    signal = record.signal if signal is None else signal
    leads = record.leads if rows is None else [record.leads[row] for row in rows]
    return replace(record, signal=signal if rows is None else signal[rows], leads=leads, **values)


def exchanged(record, change):
    """With electrodes exchanged by a function of `tools/measure_quality.py`."""
    own = change(dict(zip(record.leads, record.signal)))
    return changed(record, np.stack([own[name] for name in record.leads]))


def spoilt(record, lead, values):
    signal = record.signal.copy()
    signal[record.leads.index(lead)] = values
    return changed(record, signal)


def test_records_as_recorded_are_answered_and_hardly_ever_suspected():
    found = [assess(read_record(file)) for file in FILES[1::8]]
    assert all(quality.verdict != "unusable" for quality in found)
    assert sum(quality.verdict == "ok" for quality in found) >= 10 and not any(quality.swap for quality in found)
    assert all(list(quality.leads) == [*LEADS] for quality in found)


@pytest.mark.parametrize(("change", "said"), [
    (measured.arms, "the arm electrodes exchanged (LA/RA), or dextrocardia"),
    (measured.right_arm_leg, "right arm and left leg exchanged (RA/LL)"),
    (measured.chest(*LEADS[:5:-1]), "V1 to V6 in reverse order"),
    (measured.pair("V3", "V5"), "V3 and V5 exchanged"),
    (measured.relabelled("I", "II", "III", "aVL", "aVR", "aVF"), "the limb leads do not fit each other"),
    (measured.relabelled("I", "III", "II", "aVR", "aVL", "aVF"), "the limb leads do not fit each other"),
    (measured.relabelled("aVF", "aVL", "aVR", "I", "II", "III"), "the limb leads do not fit each other"),
])  # fmt: skip
def test_exchanged_electrodes_are_named_first_and_never_block(plain, change, said):
    quality = assess(exchanged(plain, change))
    assert said in quality.swap and quality.verdict == "limited"
    assert quality.line().startswith(f"limited: {quality.swap}") and "LA/LL" not in quality.swap


def test_left_arm_and_left_leg_are_never_claimed(plain):
    assert assess(exchanged(plain, measured.left_arm_leg)).swap is None


@pytest.mark.parametrize(("values", "flag", "said"), [
    (np.full(5000, 0.3), "flat", "flat: V3"),
    (0.02 * np.sin(TIME), "flat", "flat: V3"),
    (np.random.default_rng(0).standard_normal(5000), "noise", "noise in V3"),
    (np.full(5000, np.nan), "missing", "no values in V3"),
])  # fmt: skip
def test_a_bad_lead_among_others_is_named(plain, values, flag, said):
    quality = assess(spoilt(plain, "V3", values))
    assert quality.leads["V3"][0] == flag and quality.verdict == "limited" and said in quality.texts
    assert not any(own for name, own in quality.leads.items() if name != "V3") and quality.swap is None


def test_hum_and_a_wandering_baseline_are_named(plain):
    v2 = plain.signal[plain.leads.index("V2")]
    assert assess(spoilt(plain, "V2", v2 + 0.5 * np.sin(2 * np.pi * 50 * TIME))).leads["V2"] == ["noise"]
    wandering = assess(spoilt(plain, "V2", v2 + 2 * np.sin(2 * np.pi * 0.3 * TIME)))
    assert wandering.leads["V2"][0] == "wander" and wandering.texts == ["wandering baseline in V2"]


def test_flat_limb_leads_are_not_called_mislabelled(plain):
    assert assess(spoilt(plain, "III", 0.0)).swap is None


@pytest.mark.parametrize(("bad", "verdict"), [
    (LEADS[:6], "limited"), (LEADS[:7], "unusable"), (LEADS[5:], "unusable"), (("II", "V1"), "unusable"),
    (("II", "V2"), "limited"),
])  # fmt: skip
def test_more_than_six_bad_leads_or_both_rhythm_leads_are_unusable(plain, bad, verdict):
    signal = plain.signal.copy()
    signal[[plain.leads.index(name) for name in bad]] = 0
    assert assess(changed(plain, signal)).verdict == verdict


def nothing(record):
    return np.zeros_like(record.signal)


def white(record):
    return np.random.default_rng(1).standard_normal(record.signal.shape)


def hum(record):
    return np.broadcast_to(np.sin(2 * np.pi * 50 * TIME), record.signal.shape)


def sweep(record):
    return np.outer([1, 2, 1, -1.5, 0, 1.5, 1, 1, 1, 1, 1, 1], chirp(TIME, 1, 10, 30))


def counts(record):
    return record.signal * 200


def shuffled(record):
    return record.signal[np.random.default_rng(2).permutation(12)]


def turned(record):
    return -record.signal


@pytest.mark.parametrize(("change", "verdict"), [
    (nothing, "unusable"), (white, "unusable"), (hum, "unusable"), (counts, "unusable"), (sweep, "limited"),
    (shuffled, "limited"), (turned, "limited"),
])  # fmt: skip
def test_what_is_no_ecg_in_order_gets_no_confident_answer(plain, change, verdict):
    assert assess(changed(plain, np.asarray(change(plain), dtype=np.float32))).verdict == verdict


def test_nearly_every_record_that_is_turned_over_is_doubted_and_none_as_recorded_is_called_so():
    records = [read_record(file) for file in FILES[::3]]
    over = [assess(changed(record, -record.signal)) for record in records]
    assert np.mean([quality.verdict != "ok" for quality in over]) >= 0.95
    assert np.mean(["upside down" in quality.line() for quality in over]) >= 0.85
    assert not any("upside down" in assess(record).line() for record in records)


@pytest.mark.parametrize("rate", [100, 128, 250, 257, 1000, 4000])
def test_rate_does_not_matter(plain, rate):
    def at_rate(record):
        return replace(record, signal=resample(record.signal, round(10 * rate), axis=1), sample_rate=float(rate))

    assert assess(at_rate(plain)).verdict == "ok"
    assert "LA/RA" in assess(at_rate(exchanged(plain, measured.arms))).swap
    noise = np.random.default_rng(0).standard_normal((12, 10 * rate))
    assert assess(Record(noise, float(rate), [*LEADS])).verdict != "ok"


@pytest.mark.parametrize("samples", [0, 1, 2, 30, 200, 999, 1500, 5001])
def test_any_length_has_a_verdict(plain, samples):
    signal = np.tile(plain.signal, (1, 2))[:, :samples]
    assert assess(changed(plain, signal)).verdict in ("ok", "limited", "unusable")


def test_a_long_record_is_as_good_as_most_of_it(plain):
    signal = np.tile(plain.signal, (1, 30))
    assert assess(changed(plain, signal)).verdict == "ok"
    signal[:, 20000:30000] = 0  # two seconds of fifteen
    assert assess(changed(plain, signal)).verdict == "ok"
    signal[4, 10000:] = 0
    assert assess(changed(plain, signal)).leads["aVL"] == ["flat"]


@pytest.mark.parametrize("rows", [[1], [0, 1], [1, 6], [0, 1, 6, 7, 8, 9, 10, 11], [11, 0, 5, 3], [6, 7]])
def test_checks_whose_leads_are_missing_are_left_out(plain, rows):
    quality = assess(changed(plain, rows=rows))
    assert quality.verdict == "ok" and list(quality.leads) == [plain.leads[row] for row in rows]


def test_a_flat_single_lead_is_unusable_and_odd_names_gaps_and_infinities_are_no_trouble(plain):
    assert assess(Record(np.zeros((1, 5000)), 500.0, ["II"])).verdict == "unusable"
    odd = Record(plain.signal[[1, 1, 6]].copy(), 500.0, ["x", "x", "v1"])
    odd.signal[0, :400], odd.signal[2, 5] = np.nan, np.inf
    assert assess(odd).verdict == "ok"
    assert assess(Record(np.full((2, 5000), np.nan), 500.0, ["I", "II"])).texts[0] == "no lead has values"
    assert assess(changed(plain, sample_rate=40.0)).verdict == "ok"


def test_stated_units_raise_no_doubt_about_the_scale(plain):
    tall = changed(plain, plain.signal * 20)
    assert assess(tall).verdict == "unusable" and assess(tall, scale_stated=True).verdict == "ok"


def test_a_refusal_says_why_and_what_to_type(plain):
    with pytest.raises(ConfigError, match=r"a\.hea: the record is unusable: .*12 of 12 leads are flat .* --force"):
        refuse_unusable("a.hea", assess(changed(plain, nothing(plain))))
    refuse_unusable("a.hea", assess(plain))


def test_flat_leads_become_missing_but_never_all(plain):
    flat = spoilt(plain, "V3", 0.1)
    found = without_flat(flat, assess(flat))
    assert np.isnan(found.signal).all(axis=1).nonzero()[0].tolist() == [plain.leads.index("V3")]
    assert (flat.signal[plain.leads.index("V3")] == np.float32(0.1)).all()
    assert without_flat(plain, assess(plain)) is plain
    zeros = changed(plain, nothing(plain))
    assert without_flat(zeros, assess(zeros)) is zeros
