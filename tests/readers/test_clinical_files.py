"""Files of real machines and their conversions (shared/data/clinical): what is read of them equals what is known."""

import hashlib
import json
import random
import warnings
from pathlib import Path

import numpy as np
import pytest

from ecg_signals import read_record
from ecg_signals.config import ConfigError

NAMES = (
    "example.scp", "example_aecg.xml", "example.dcm", "philips_103.xml", "philips_10401.xml", "synthetic_muse.xml",
    "synthetic_muse.dcm", "mindray_aecg.xml", "ptbxl_uV.edf", "ptbxl.ishne.ecg",
)  # fmt: skip
PTBXL = Path(__file__).parents[2] / "examples/sample/records500/00000/00002_hr"
PERSONS = ("SBJ-123", "Clark", "ZZDEMOPTONLY", "SYNTH0001", "xxxxxx")


@pytest.fixture(scope="session")
def clinical(shared):
    folder = shared / "data" / "clinical"
    if not folder.is_dir():
        pytest.skip(f"no sample files at {folder}")
    return folder


@pytest.fixture(scope="session")
def expected(clinical):
    return json.loads((clinical / "expected.json").read_text())


def read(path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_record(path, **options)


@pytest.mark.parametrize("name", NAMES)
def test_leads_rate_and_samples_are_the_known_ones_under_any_name(name, clinical, expected, tmp_path):
    known, content = expected[name], (clinical / name).read_bytes()
    assert hashlib.sha256(content).hexdigest() == known["sha256"]
    record = read(clinical / name)
    assert record.leads == list(known["leads"]) and record.sample_rate == known["sample_rate"]
    if name.startswith("ptbxl"):  # written from a record whose values are known
        step = 1.3e-3 if name.endswith(".ecg") else 5e-4  # mV
        np.testing.assert_allclose(record.signal, read(PTBXL).signal, atol=step)
    else:
        for row, (lead, told) in zip(record.signal.astype(np.float64), known["leads"].items()):
            assert len(row) == told["n"], lead
            step = 2.5e-3 if name.startswith("philips") else 1e-6
            np.testing.assert_allclose(row[:5], told["first5"], atol=step)
            assert abs(row).max() == pytest.approx(told["absmax"], abs=step)
            assert row.sum() == pytest.approx(told["sum"], abs=2e-3)
    for other in ("9f3ab2", "r.csv", "r.hea", "r.edf", "r.npy"):
        (tmp_path / other).write_bytes(content)
        np.testing.assert_array_equal(read(tmp_path / other).signal, record.signal)


def test_one_recording_is_the_same_from_dicom_scp_and_aecg(clinical):
    records = [read(clinical / name) for name in ("example.dcm", "example.scp", "example_aecg.xml")]
    for record in records[1:]:
        order = [record.leads.index(lead) for lead in records[0].leads]
        np.testing.assert_array_equal(record.signal[order], records[0].signal)


def test_no_calibration_pulse_is_left_of_a_philips_file(clinical):
    for name in ("philips_103.xml", "philips_10401.xml"):
        signal = read(clinical / name).signal
        pulse = (signal == 1.0).astype(int)
        assert all(np.convolve(row, np.ones(100, int)).max() < 100 for row in pulse)
        assert not (signal[:, -50:] == signal[0, -50:]).all()


def test_every_table_is_read_as_the_record_it_was_written_from(clinical):
    truth = read(PTBXL)
    for known in json.loads((clinical / "tables" / "expected.json").read_text()):
        record = read(clinical / "tables" / known["name"], **known["arguments"])
        assert record.leads == known["leads"] and record.sample_rate == known["sample_rate"], known["name"]
        rows = [truth.leads.index(lead) for lead in record.leads]
        np.testing.assert_allclose(record.signal, truth.signal[rows, :1000], atol=1e-6)


@pytest.mark.parametrize(("cut", "flipped"), [(4, 8), pytest.param(50, 200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file_is_a_record_or_an_error_that_names_it(name, cut, flipped, clinical, tmp_path):
    content, draw, path = (clinical / name).read_bytes(), random.Random(name), tmp_path / "damaged"
    for number in range(cut + flipped):
        data = bytearray(content)
        if number < cut:
            del data[draw.randrange(len(data)) :]
        else:
            data[draw.randrange(len(data) if number % 2 else 1000)] ^= 1 << draw.randrange(8)
        path.write_bytes(data)
        try:
            assert read(path).signal.size
        except ConfigError as error:
            assert str(path) in str(error) and not any(person in str(error) for person in PERSONS)


@pytest.mark.parametrize("name", NAMES)
def test_names_and_ids_are_kept_only_when_they_are_asked_for(name, clinical):
    text = repr(read(clinical / name))
    assert not any(person in text for person in PERSONS)
    if name.startswith("example"):
        assert {"Clark", "SBJ-123"} <= set(read(clinical / name, personal=True).patient.values())


def test_a_folder_of_all_formats_becomes_segments_without_a_name_of_a_person(clinical, tmp_path):
    from ecg_signals.preprocess.options import parse_options
    from ecg_signals.preprocess.pipeline import preprocess_dataset
    from ecg_signals.registry import register_source

    (tmp_path / "in").mkdir()
    for name in NAMES:
        (tmp_path / "in" / name).write_bytes((clinical / name).read_bytes())
    options = parse_options([], register_source.get("files").dataclass)
    text = preprocess_dataset("files", tmp_path / "in", tmp_path / "out", options, 1).text()
    assert "10 records found, 10 read" in text
    for path in (path for path in (tmp_path / "out").rglob("*") if path.is_file()):
        content = path.read_bytes()
        assert not any(person.encode() in content for person in PERSONS), path
    assert not any(person in text for person in PERSONS)
