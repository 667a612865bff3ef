"""ecg-predict: from record files to probabilities per label."""

import json
import subprocess
import sys
from pathlib import Path

import ecg_signals.sample
import numpy as np
import pytest
import torch

from ecg_signals import load_model, read_record
from ecg_signals.checkpoint.convert import convert
from ecg_signals.cli.predict import main
from ecg_signals.config import ConfigError
from ecg_signals.inference.predict import Predictor, as_dict, as_text

NAMES = ["Poor data quality", "b", "c", "d", "e", "f", "g", "h"]


@pytest.fixture(scope="session")
def records():
    folder = Path(next(iter(ecg_signals.sample.__path__)))
    return sorted(folder.rglob("*.hea"))


@pytest.fixture
def predictor(golden):
    return Predictor(golden / "wcr" / "clf" / "checkpoint.pt", labels=NAMES)


def test_a_record_is_the_mean_of_its_windows_and_the_maximum_for_the_published_labels(predictor, records, golden):
    model, record = load_model(golden / "wcr" / "clf" / "checkpoint.pt"), read_record(records[0])
    source = model.signal.prepare(record)
    with torch.no_grad():
        wanted = model.probabilities(model(source)["logits"]).numpy()
    found = predictor.predict(records[0])
    assert list(found.probabilities) == NAMES and len(found.windows) == 2
    np.testing.assert_allclose([found.windows[1]["probabilities"][name] for name in NAMES], wanted[1], rtol=1e-6)
    np.testing.assert_allclose(found.probabilities["b"], wanted[:, 1].mean(), rtol=1e-6)
    np.testing.assert_allclose(found.probabilities["Poor data quality"], wanted[:, 0].max(), rtol=1e-6)
    assert [(window["start"], window["end"]) for window in found.windows] == [(0.0, 5.0), (5.0, 10.0)]


def write_record(path, record, rate, leads=None, seconds=None):
    """A copy at another rate, with some leads, as .npy."""
    from scipy.signal import resample

    rows = [record.leads.index(lead) for lead in leads or record.leads]
    samples = round(record.signal.shape[1] / record.sample_rate * rate)
    signal = resample(record.signal[rows], samples, axis=1)
    if seconds:
        signal = np.tile(signal, (1, 10))[:, : round(seconds * rate)]
    np.save(path, signal.astype(np.float32))
    return path


@pytest.mark.parametrize("rate", [250, 257, 360, 400, 500, 1000])
def test_any_rate_gives_nearly_the_same_probabilities(predictor, records, tmp_path, rate):
    wanted = predictor.predict(records[0])
    path = write_record(tmp_path / "a.npy", read_record(records[0]), rate)
    found = predictor.predict(path, sample_rate=rate)
    assert found.error is None
    np.testing.assert_allclose(list(found.probabilities.values()), list(wanted.probabilities.values()), atol=0.05)


def test_the_order_of_leads_does_not_matter(predictor, records, tmp_path):
    record = read_record(records[0])
    leads = record.leads[::-1]
    path = write_record(tmp_path / "a.npy", record, 500, leads)
    wanted = predictor.predict(write_record(tmp_path / "b.npy", record, 500), sample_rate=500)
    found = predictor.predict(path, sample_rate=500, leads=leads)
    assert found.probabilities == wanted.probabilities


def test_a_missing_limb_lead_is_derived_and_a_missing_chest_lead_is_told(predictor, records, tmp_path):
    record = read_record(records[0])
    wanted = predictor.predict(write_record(tmp_path / "a.npy", record, 500), sample_rate=500)
    for missing in ("aVF", "V3"):
        leads = [lead for lead in record.leads if lead != missing]
        found = predictor.predict(write_record(tmp_path / "b.npy", record, 500, leads), sample_rate=500, leads=leads)
        assert found.error is None and bool(found.warnings) == (missing == "V3")
        if missing == "aVF":
            np.testing.assert_allclose(
                list(found.probabilities.values()), list(wanted.probabilities.values()), atol=0.02
            )
        else:
            assert "no V3" in found.warnings[0]


@pytest.mark.parametrize(("seconds", "windows"), [(3, 1), (60, 12)])
def test_short_records_are_filled_up_and_long_ones_give_many_windows(predictor, records, tmp_path, seconds, windows):
    path = write_record(tmp_path / "a.npy", read_record(records[0]), 500, seconds=seconds)
    found = predictor.predict(path, sample_rate=500)
    assert len(found.windows) == windows and any("shorter" in text for text in found.warnings) == (seconds == 3)


def ecg_predict(*arguments, monkeypatch, capsys):
    """Exit status and printed text of the command."""
    monkeypatch.setattr(sys, "argv", ["ecg-predict", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, capsys.readouterr().out


def test_a_bad_record_is_told_and_the_others_are_predicted(golden, records, tmp_path, monkeypatch, capsys):
    (tmp_path / "bad.csv").write_text("I,II\n1,x\n")
    paths = [str(records[0]), str(tmp_path / "bad.csv"), "nowhere.mat"]
    options = ["--json", "--model", golden / "wcr" / "clf" / "checkpoint.pt"]
    status, text = ecg_predict(*paths, *options, monkeypatch=monkeypatch, capsys=capsys)
    found = json.loads(text)
    assert status == 1 and [item["record"] for item in found] == paths
    assert "probabilities" in found[0] and "error" in found[1] and "nowhere.mat" in found[2]["error"]


def test_the_text_names_labels_from_a_file(golden, records, tmp_path, monkeypatch, capsys):
    rows = "".join(f'"{name}, left",1\n' for name in NAMES)
    (tmp_path / "label_def.csv").write_text("name,pos_count_train\n" + rows)
    options = ["--labels", tmp_path / "label_def.csv", "--model", golden / "wcr" / "clf" / "checkpoint.pt"]
    status, text = ecg_predict(records[0], *options, monkeypatch=monkeypatch, capsys=capsys)
    assert status == 0 and "Poor data quality, left" in text and "2 windows" in text


def test_hubert_ecg_predicts_from_raw_records(golden, records):
    found = Predictor(golden / "hubert_ecg" / "checkpoints" / "finetune_mlp.pt").predict(records[0])
    assert found.error is None and list(found.probabilities) == ["label_0", "label_1", "label_2", "label_3"]
    assert all(0 <= value <= 1 for value in found.probabilities.values())
    assert as_dict(found)["windows"] and "label_3" in as_text([found])


def test_a_converted_folder_predicts_the_same(predictor, golden, records, tmp_path):
    convert(golden / "wcr" / "clf" / "checkpoint.pt", tmp_path / "folder", "hf")
    found = Predictor(tmp_path / "folder", labels=NAMES).predict(records[0])
    assert found.probabilities == predictor.predict(records[0]).probabilities


ORDINARY = """
import sys
from ecg_signals.cli.predict import predict, parser
from ecg_signals import read_record

slow = "pydicom wfdb scipy pandas sklearn matplotlib hydra omegaconf requests h5py transformers".split()
assert predict(parser().parse_args(sys.argv[2:])) == 0
print("record:", *[name for name in slow if name in sys.modules])
read_record(sys.argv[1], sample_rate=500)
print("table:", *[name for name in slow if name in sys.modules])
"""


def test_an_ordinary_prediction_imports_nothing_slow_besides_torch(golden, records, tmp_path):
    """Its start takes torch's two seconds, and little more; a table takes pandas."""
    np.savetxt(tmp_path / "t.csv", read_record(records[0]).signal.T, delimiter=",")
    words = [tmp_path / "t.csv", records[0], "--model", golden / "wcr" / "clf" / "checkpoint.pt"]
    done = subprocess.run([sys.executable, "-c", ORDINARY, *map(str, words)], capture_output=True, text=True)
    assert done.stdout.splitlines()[-2:] == ["record:", "table: pandas"], done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "message"), [("w2v_cmsc", "no classification head"), ("arcface", "no classification head")]
)
def test_a_model_without_a_head_is_an_error(golden, file, message):
    with pytest.raises(ConfigError, match=message):
        Predictor(golden / "wcr" / file / "checkpoint.pt")


def test_label_names_must_be_as_many_as_the_logits(golden):
    with pytest.raises(ConfigError, match="2 label names for a model with 8 logits"):
        Predictor(golden / "wcr" / "clf" / "checkpoint.pt", labels=["a", "b"])


def test_microvolts_are_doubted_and_read_with_units(golden, records, tmp_path, monkeypatch, capsys):
    np.save(tmp_path / "r.npy", read_record(records[0]).signal * 1000)
    options = ["--json", "--sample-rate", "500", "--model", golden / "wcr" / "clf" / "checkpoint.pt"]
    answers = []
    counts = [tmp_path / "r.npy"]
    for words in ([str(records[0])], counts, [*counts, "--units", "uV"], [*counts, "--force"]):
        given = options if len(answers) else [*options[:1], *options[3:]]
        status, text = ecg_predict(*words, *given, monkeypatch=monkeypatch, capsys=capsys)
        assert status == (len(answers) == 1)
        answers.append(json.loads(text)[0])
    assert "no ECG spans less than 0.05 or more than 10 mV" in answers[1]["error"] and "--units" in answers[1]["error"]
    assert any("above 8 mV in 12 of 12 leads" in text for text in answers[3]["warnings"])
    assert not answers[2]["warnings"]
    assert answers[2]["probabilities"] == pytest.approx(answers[0]["probabilities"], abs=1e-5)


def test_names_in_a_recorders_file_are_printed_only_when_asked_for(golden, records, tmp_path, monkeypatch, capsys):
    import vendor_files

    signal = np.round(read_record(records[0]).signal.astype(float) * 200) / 200
    (tmp_path / "r.xml").write_text(vendor_files.muse(signal))
    options = [tmp_path / "r.xml", "--model", golden / "wcr" / "clf" / "checkpoint.pt"]
    for words, shown in ((["--json"], False), ([], False), (["--json", "--personal"], True), (["--personal"], True)):
        status, text = ecg_predict(*options, *words, monkeypatch=monkeypatch, capsys=capsys)
        assert status == 0 and (vendor_files.PERSON in text) == shown
