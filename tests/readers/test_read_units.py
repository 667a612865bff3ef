"""What the numbers of a record are in: said by the file, by the caller, or doubted when no ECG looks so."""

import shutil
import warnings

import h5py
import numpy as np
import pytest
import scipy.io

from ecg_signals import read_record
from ecg_signals.config import ConfigError
from ecg_signals.readers.plausible import amplitude, spread
from ecg_signals.signal.leads import LEADS


@pytest.fixture
def signal():
    """Ten seconds at 500 Hz: leads of about 1 mV."""
    return np.random.default_rng(0).normal(0, 0.3, (12, 5000)).astype(np.float32)


def write(folder, kind, signal):
    """The same numbers in each format; the WFDB header says nothing of units."""
    path = folder / f"r.{kind}"
    if kind == "npy":
        np.save(path, signal)
    elif kind == "csv":
        np.savetxt(path, signal.T, delimiter=",", header=",".join(LEADS), comments="")
    elif kind == "mat":
        scipy.io.savemat(path, {"feats": signal, "curr_sample_rate": 500})
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            file["ecg"] = signal
    else:
        gain = 10.0 ** np.floor(np.log10(30_000 / np.abs(signal).max()))
        counts = np.rint(signal * gain).astype("<i4")
        (folder / "r.dat").write_bytes(counts.T.tobytes())
        lines = [f"r.dat 32 {gain:g} 32 0 0 0 0 {name}" for name in LEADS]
        path.write_text("\n".join([f"r 12 500 {counts.shape[1]}", *lines]))
    return path


def read(path, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = read_record(path, **options)
    return found, [str(item.message) for item in caught if "sample rate" not in str(item.message)]


@pytest.mark.parametrize("kind", ["npy", "csv", "mat", "h5", "hea"])
@pytest.mark.parametrize(("units", "factor"), [("uV", 1e-3), ("V", 1e3), ("4.88uV", 4.88e-3), ("0.5 mV", 0.5)])
def test_every_reader_takes_units(tmp_path, signal, kind, units, factor):
    found, said = read(write(tmp_path, kind, signal / factor), units=units)
    np.testing.assert_allclose(found.signal, signal, atol=1e-3)
    assert not said
    with pytest.raises(ConfigError, match=r"no voltage; give units="):
        read_record(tmp_path / f"r.{kind}", units="mmHg")


@pytest.mark.parametrize("kind", ["npy", "csv", "mat", "h5", "hea"])
def test_values_that_no_ecg_in_millivolt_has_are_doubted(tmp_path, signal, kind):
    _, said = read(write(tmp_path, kind, signal * 1000))
    assert len(said) == 1 and f"r.{kind}" in said[0] and "12 of 12 leads" in said[0]
    assert "above 8 mV" in said[0] and "units=uV" in said[0]
    _, said = read(write(tmp_path, kind, signal / 1000))
    assert len(said) == 1 and "below 0.02 mV" in said[0] and "units=uV or V" in said[0]
    assert read(write(tmp_path, kind, signal))[1] == []


def test_the_doubtful_leads_alone_are_named(tmp_path, signal):
    signal[4] *= 100
    signal[7] = 0.25
    signal[8] = np.nan
    _, said = read(write(tmp_path, "npy", signal))
    assert [text.count("of 12 leads") for text in said] == [1, 1]
    assert "aVL " in said[0] and "V1" not in said[0] and "V2 0)" in said[1] and "V3" not in said[1]


def test_rare_spikes_are_no_doubt_and_the_limits_are_exact(tmp_path):
    lead = np.zeros(10_000, np.float32)
    lead[:90] = 500
    assert spread(lead) == 0
    lead[:110] = 9
    assert spread(lead) == 9
    for limit, low, high in ((8.0, 7.9, 8.1), (0.02, 0.021, 0.019)):
        quiet, loud = (np.tile(np.float32([-value, value]), (12, 2500)) for value in (low, high))
        _, said = read(write(tmp_path, "npy", quiet))
        assert ["are usual" in text for text in said] == [True]  # squares: every sample is at an extreme
        assert f"{limit:g} mV in 12 of 12" in read(write(tmp_path, "npy", loud))[1][0]


def test_the_span_of_the_median_lead_is_doubted_outside_a_fifth_and_five_millivolts(tmp_path, signal):
    for factor, doubted in ((0.19, True), (0.21, False), (4.9, False), (5.1, True)):
        lead = np.tile(np.linspace(0, factor / 0.99, 5000, dtype=np.float32), (12, 1))
        lead[:5] = 1  # fewer than half say nothing
        _, said = read(write(tmp_path, "npy", lead))
        assert any(" mV are usual" in text for text in said) == doubted
        assert amplitude(lead) == pytest.approx(factor, rel=1e-3)


def test_what_a_file_says_and_the_caller_contradicts_is_mentioned(tmp_path):
    rows = "\n".join(f"{300 * np.sin(i)},{200 * np.cos(i)}" for i in range(50))
    (tmp_path / "t.csv").write_text(f"# units: uV\n# sample_rate: 250\nI,II\n{rows}\n")
    found, said = read(tmp_path / "t.csv", units="4uV", sample_rate=500)
    assert found.sample_rate == 250 and found.signal.max() > 1
    assert any("says uV; it is read in 4uV" in text for text in said)


@pytest.mark.parametrize("suffix", [".edf", ".atr", ".xml", ".npz", ".7"])
def test_the_named_file_is_read_not_a_header_beside_it(tmp_path, signal, suffix):
    write(tmp_path, "hea", signal)
    shutil.copy(tmp_path / "r.dat", tmp_path / f"r{suffix}")
    with pytest.raises(ConfigError, match=rf"r{suffix} has the extension .*known ones are .*[.]hea .*r.hea beside it"):
        read_record(tmp_path / f"r{suffix}")
    assert read_record(tmp_path / "r.dat").signal.shape == read_record(tmp_path / "r").signal.shape == (12, 5000)
    (tmp_path / "r.hea").write_text((tmp_path / "r.hea").read_text().replace("r.dat", f"r{suffix}"))
    assert read_record(tmp_path / f"r{suffix}").signal.shape == (12, 5000)  # the header names it as its signal file


def test_own_formats_are_read_beside_a_header_of_the_same_name(tmp_path, signal):
    write(tmp_path, "hea", signal)
    for kind in ("npy", "csv", "mat", "h5"):
        np.testing.assert_allclose(read(write(tmp_path, kind, signal))[0].signal, signal, rtol=1e-5)
    shutil.copy(tmp_path / "r.hea", tmp_path / "r.npy.hea")
    np.testing.assert_array_equal(read(tmp_path / "r.npy")[0].signal, signal)
