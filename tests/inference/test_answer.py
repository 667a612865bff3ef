"""The answer as JSON, table and text: by its schema, alike for every format of a record, and no word too many."""

import csv
import io
import json
import sys
import warnings
from pathlib import Path

import ecg_signals.sample
import numpy as np
import pytest
import vendor_files

from ecg_signals.cli.predict import main
from ecg_signals.inference.answer import answer, schema
from ecg_signals.inference.predict import Predictor
from ecg_signals.inference.prediction import Prediction
from ecg_signals.readers.read import read_record

FILE = Path(next(iter(ecg_signals.sample.__path__))) / "records500" / "00000" / "00017_hr"


def check(found) -> None:
    """Raises: ValidationError."""
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator(schema()).validate(found)


@pytest.fixture(scope="module")
def model(golden):
    return golden / "wcr" / "clf" / "checkpoint.pt"


def ecg_predict(*arguments, monkeypatch, capsys):
    """Exit status and printed text of the command."""
    monkeypatch.setattr(sys, "argv", ["ecg-predict", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, capsys.readouterr().out


def test_every_recorders_file_is_answered_by_the_schema_without_the_word(data, model, monkeypatch, capsys):
    folder = data / "clinical"
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix not in (".md", ".json")]
    status, text = ecg_predict(*paths, "--model", model, "--format", "json", monkeypatch=monkeypatch, capsys=capsys)
    found = json.loads(text)
    check(found)
    assert [item["record"]["file"] for item in found] == list(map(str, paths))
    answered = [item for item in found if "labels" in item]
    assert len(answered) >= 10 and status == (len(answered) < len(found))
    assert not any(item["model"]["calibrated"] for item in found)
    assert "probability" not in text.lower() and "SBJ-123" not in text and "Clark" not in text


@pytest.mark.parametrize("form", ["text", "csv", "json"])
def test_a_bad_file_among_good_ones_ends_with_1_and_stops_nothing(form, model, monkeypatch, capsys):
    words = [FILE, "nowhere.xml", FILE, "--model", model, "--format", form]
    status, text = ecg_predict(*words, monkeypatch=monkeypatch, capsys=capsys)
    assert status == 1 and text.count("label_3") >= (1 if form == "csv" else 2) and "there is no file nowhere" in text
    assert "probability" not in text.lower() and "score" in text
    if form == "csv":
        rows = list(csv.DictReader(io.StringIO(text)))
        assert [row["file"] for row in rows] == [str(FILE), "nowhere.xml", str(FILE)]
        assert rows[0] == rows[2] and rows[0]["quality"] == "ok" and 0 < float(rows[0]["score label_3"]) < 1
        assert rows[1]["error"] and rows[1]["score label_3"] == ""
    if form == "json":
        first, bad, _ = json.loads(text)
        check([first, bad])
        assert "error" in bad and "labels" not in bad and len(first["labels"]) == 8
        assert {label["decision"] for label in first["labels"]} == {"not validated"}
        assert len(first["labels"][0]["windows"]) == len(first["windows"]) == 2


def written(folder):
    """One record as DICOM, SCP-ECG, aECG and CSV, in whole counts of 5 uV, which all of them hold."""
    signal = vendor_files.counts(read_record(FILE).signal) * vendor_files.STEP / 1000
    limbs = {"III": signal[1] - signal[0], "aVR": -(signal[0] + signal[1]) / 2}
    assert np.abs(limbs["III"] - signal[2]).max() < 0.02
    (folder / "r.scp").write_bytes(vendor_files.scp_bytes(signal))
    (folder / "r.xml").write_text(vendor_files.aecg(signal))
    vendor_files._twelve_dicom(folder / "r.dcm", signal)
    return [folder / name for name in ("r.dcm", "r.scp", "r.xml")]


def same(answers):
    """Answers without what tells the files apart."""
    found = json.loads(json.dumps(answers))
    for item in found:
        for key in ("file", "format", "sha256"):
            item["record"].pop(key)
    return found


def test_the_same_record_in_three_formats_has_one_answer(model, tmp_path):
    pytest.importorskip("pydicom")
    predictor = Predictor(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [answer(predictor.predict(path), predictor.about) for path in written(tmp_path)]
    assert [item["record"]["format"] for item in found] == ["dicom", "scp", "aecg"]
    assert len({item["record"]["sha256"] for item in found}) == 3
    for item in found:
        item["record"]["start"] = None  # each writer has a time of its own
    first, *others = same(found)
    assert all(other == first for other in others)


def test_the_published_recording_in_three_formats_has_one_answer(data, model):
    pytest.importorskip("pydicom")
    predictor = Predictor(model)
    files = [data / "clinical" / name for name in ("example.dcm", "example.scp", "example_aecg.xml")]
    first, *others = same([answer(predictor.predict(file), predictor.about) for file in files])
    assert all(other == first for other in others)


def test_a_wfdb_record_has_one_hash_by_any_of_its_names(model, tmp_path):
    predictor = Predictor(model)
    stated = {predictor.predict(path).facts["sha256"] for path in (FILE, f"{FILE}.hea")}
    assert len(stated) == 1
    copy = tmp_path / "00017_hr"
    for suffix in (".hea", ".dat"):
        copy.with_suffix(suffix).write_bytes(FILE.with_suffix(suffix).read_bytes())
    assert predictor.predict(copy).facts["sha256"] in stated
    content = bytearray(copy.with_suffix(".dat").read_bytes())
    content[100] ^= 1
    copy.with_suffix(".dat").write_bytes(content)
    assert predictor.predict(copy).facts["sha256"] not in stated


def test_a_record_that_cannot_be_judged_has_no_answer(model, tmp_path):
    path = tmp_path / "zeros.npy"
    np.save(path, np.zeros((12, 5000), dtype=np.float32))
    predictor = Predictor(model)
    found = answer(predictor.predict(path, sample_rate=500), predictor.about)
    check(found)
    assert found["quality"]["verdict"] == "unusable" and "error" in found and "labels" not in found
    forced = answer(predictor.predict(path, force=True, sample_rate=500), predictor.about)
    check(forced)
    assert "labels" in forced and forced["quality"]["verdict"] == "unusable"


def test_calibrated_answers_and_unfinished_ones_are_told_apart_by_the_schema():
    jsonschema = pytest.importorskip("jsonschema")
    about = {"name": "m", "sha256": "0" * 64, "labels_version": "a", "calibrated": True, "trained_on": None}
    decision = {"threshold": 0.3, "interval": [0.1, 0.9], "decision": "uncertain"}
    made = Prediction("r", {"AFIB": 0.4}, [{"start": 0.0, "end": 5.0, "probabilities": {"AFIB": 0.4}}],
                      calibrated=True, decisions=[decision])  # fmt: skip
    found = answer(made, about)
    check(found)
    found["model"]["calibrated"] = False
    with pytest.raises(jsonschema.ValidationError):
        check(found)
