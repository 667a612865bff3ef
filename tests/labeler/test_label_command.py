"""ecg-label: files of reports -> tables of labels."""

import json

import numpy as np
import pandas as pd
import pytest
import vendor_files

from ecg_signals.cli.label import run
from ecg_signals.config import ConfigError
from ecg_signals.data.label_file import read_label_names
from ecg_signals.labeler.templates import MIMIC_IV_ECG


@pytest.fixture
def templates(golden):
    return str(golden / "wcr/labeler/templates")


def machine(path, *rows):
    names = ["subject_id", "study_id", *(f"report_{number}" for number in range(12))]
    lines = [",".join([f"10,{study}", *texts, *[""] * (12 - len(texts))]) for study, *texts in rows]
    path.write_text("\n".join([",".join(names), *lines]) + "\n")
    return str(path)


def test_statements_of_a_study_are_one_report(tmp_path, templates, capsys):
    table = machine(tmp_path / "machine_measurements.csv", (7, "Sinus rhythm", "", "No ischemia"), (8,))
    run([table, "--templates", templates, "--out", str(tmp_path / "out")])
    labels = pd.read_csv(tmp_path / "out/labels.csv")
    assert list(labels.columns) == ["study_id", "Sinus rhythm"] and labels["Sinus rhythm"][0] == 1
    assert labels["Sinus rhythm"].isna().tolist() == [False, True]  # a study without a report is unknown
    matches = pd.read_csv(tmp_path / "out/matches.csv")
    assert matches["text"][0] == "sinus rhythm; no ischemia" and matches["patterns"][0] == "sinus rhythm; no; ischemia"
    assert "2 records, 1 with labels, 1 without a report; 1 labels" in capsys.readouterr().out


def test_what_recorders_wrote_into_their_files_is_a_report_of_each(tmp_path, templates, capsys):
    signal = np.tile(np.sin(np.arange(1000) / 20), (12, 1))
    raw = tmp_path / "raw"
    (raw / "day").mkdir(parents=True)
    (raw / "a.xml").write_text(vendor_files.muse(signal))
    (raw / "day" / "b.scp").write_bytes(vendor_files.scp_bytes(signal))
    (raw / "c.edf").write_bytes(vendor_files.twelve_edf(signal))
    (raw / "broken.scp").write_bytes(vendor_files.scp_bytes(signal)[:1000])
    with pytest.warns(UserWarning, match="broken.scp"):
        run([str(raw), "--templates", templates, "--out", str(tmp_path / "out")])
    labels = pd.read_csv(tmp_path / "out/labels.csv").set_index("path")
    assert labels["Sinus rhythm"].to_dict() == {"a.xml": 1, "c.edf": pytest.approx(np.nan, nan_ok=True), "day/b.scp": 1}
    assert "3 records, 2 with labels, 1 without a report" in capsys.readouterr().out
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="holds no record file"):
        run([str(tmp_path / "empty")])


def test_without_templates_reports_are_read_by_ecg_fms(tmp_path):
    texts = ["Possible inferior infarct", "A-fib", "RBBB with left anterior fascicular block", "No ischemia"]
    table = machine(tmp_path / "reports.csv", *enumerate(texts, start=1))
    run([table, "--out", str(tmp_path / "out")])
    labels = pd.read_csv(tmp_path / "out/labels.csv").set_index("study_id")
    assert labels["Infarction"].tolist() == [0.65, 0, 0, 0] and labels["Inferior ischemia"].tolist() == [0.755, 0, 0, 0]
    assert labels["Tachycardia"].tolist() == [0, 1, 0, 0] and labels["Bifascicular block"].tolist() == [0, 0, 1, 0]
    assert (labels.loc[4] == 0).all()


def test_the_labels_of_ecg_fms_fine_tuned_model_are_called_ecg_fm(tmp_path):
    (tmp_path / "reports.txt").write_text("Sinus rhythm. Possible 1st degree A-V block\nPoor quality data\n")
    run([str(tmp_path / "reports.txt"), "--labels", "ecg_fm", "--hard", "--out", str(tmp_path)])
    labels = pd.read_csv(tmp_path / "labels.csv").set_index("idx")
    assert list(labels.columns) == read_label_names(MIMIC_IV_ECG / "label_def.csv") and len(labels.columns) == 17
    assert list(labels.columns)[::16] == ["Poor data quality", "Electronic pacemaker"]
    found = [set(labels.columns[row > 0]) for row in labels.to_numpy()]
    assert found[0] == {"Sinus rhythm", "Atrioventricular block", "1st degree atrioventricular block"}


def test_counts_are_ecg_fms(tmp_path, golden, templates):
    texts = golden / "wcr/labeler/texts.json"
    run([str(texts), "--templates", templates, "--as-is", "--published", "--out", str(tmp_path)])
    found = pd.read_csv(tmp_path / "label_def.csv").set_index("name")
    wanted = pd.read_csv(golden / "wcr/labeler/label_def_peer.csv").set_index("name")
    pd.testing.assert_series_equal(found["count"], wanted["count"])
    reports = sum(bool(text) for text in json.loads(texts.read_text()))
    pd.testing.assert_series_equal(found["pos_percent"], wanted["count"] / reports, check_names=False)


def test_chosen_labels_come_in_their_order_and_hard_ones_are_one(tmp_path, templates):
    (tmp_path / "reports.txt").write_text("possible infarct\nsinus rhythm\n")
    (tmp_path / "names.txt").write_text("Sinus rhythm\nInfarction - Possible\nIschemia\nPaced\n")
    run([str(tmp_path / "reports.txt"), "--templates", templates, "--hard", "--labels", str(tmp_path / "names.txt"),
         "--out", str(tmp_path)])  # fmt: skip
    labels = pd.read_csv(tmp_path / "labels.csv")
    assert labels.columns.tolist() == ["idx", "Sinus rhythm", "Infarction - Possible", "Ischemia", "Paced"]
    assert labels.to_numpy().tolist() == [[0, 0, 1, 1, 0], [1, 1, 0, 0, 0]]


def test_the_labels_of_a_meta_csv_fit_its_records(tmp_path, templates):
    pd.DataFrame({"idx": [4, 2], "report": ["possible infarct", None]}).to_csv(tmp_path / "meta.csv", index=False)
    run([str(tmp_path / "meta.csv"), "--templates", templates, "--out", str(tmp_path / "labels")])
    labels = pd.read_csv(tmp_path / "labels/labels.csv")
    assert labels["idx"].tolist() == [4, 2] and labels["Ischemia"].tolist()[0] == 0.65


@pytest.mark.parametrize(
    ("content", "more", "said"),
    [
        ("a,b\n1,2\n", [], "--column"),
        ("idx,report\n1,x\n1,y\n", [], "twice"),
        ("idx,report\n1,x\n", ["--labels", "NAMES"], "did you mean 'Paced'"),
        ("idx,report\n1,x\n", ["--column", "reprot"], "did you mean 'report'"),
        ("idx,report\n1,x\n", ["--templates", "nowhere"], "nowhere is not a folder.*leave it out"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path, templates, content, more, said):
    (tmp_path / "r.csv").write_text(content)
    (tmp_path / "names").write_text("Pacd\n")
    words = [str(tmp_path / "names") if word == "NAMES" else word for word in more]
    with pytest.raises(ConfigError, match=said):
        run([str(tmp_path / "r.csv"), "--templates", templates, *words])


def test_reports_are_never_written_over(tmp_path, templates):
    (tmp_path / "labels.csv").write_text("idx,report\n1,x\n")
    with pytest.raises(ConfigError, match="written over"):
        run([str(tmp_path / "labels.csv"), "--templates", templates, "--out", str(tmp_path)])
