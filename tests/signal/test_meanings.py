"""What labels mean, held against the tables that say so."""

import csv

import pytest

from ecg_signals.interop.fairseq_signals.contract import ECG_FM_MAX
from ecg_signals.metrics.cinc_codes import SCORED
from ecg_signals.signal.meanings import Meaning, meaning


def table(path):
    with path.open(encoding="utf-8-sig") as lines:
        return list(csv.DictReader(lines))


def test_every_statement_of_ptbxl_has_its_description_and_is_its_own_scp_code(data):
    statements = table(data / "ptbxl_500" / "scp_statements.csv")
    assert len(statements) == 71
    for row in statements:
        found = meaning(row[""])
        assert found.scp_ecg == found.name == row[""]
        assert found.text in (row["description"], row["SCP-ECG Statement Description"])


def test_every_scored_diagnosis_of_the_challenge_is_found_by_its_name_and_by_its_code(data):
    for row in table(data / "physionet2021_sample" / "scored_diagnoses_2021.csv"):
        assert meaning(row["Abbreviation"]).snomed_ct == row["SNOMEDCTCode"]
        assert meaning(row["SNOMEDCTCode"]).snomed_ct == row["SNOMEDCTCode"]


def test_no_code_is_there_that_no_source_states(data):
    folder = data / "physionet2021_sample"
    codes = {row["SNOMEDCTCode"] for row in table(folder / "scored_diagnoses_2021.csv")}
    statements = {row[""]: row["AHA code"] for row in table(data / "ptbxl_500" / "scp_statements.csv")}
    by_aha = {row["AHA_Code"]: row["SNOMEDCTCode"] for row in table(folder / "AHA_SNOMED_mapping.csv")}
    for name, number in statements.items():
        found = meaning(name)
        assert found.snomed_ct in {"", *codes}
        if name in ("TAB_", "SARRH", "LAFB"):
            assert found.snomed_ct == by_aha[number]
    assert meaning("IMI") == Meaning("IMI", "inferior myocardial infarction", "", "IMI")


def test_the_published_classifiers_labels_and_joined_classes_have_meanings():
    for label in [*ECG_FM_MAX, "Sinus rhythm", "1st degree atrioventricular block", "Infarction", *SCORED]:
        assert meaning(label).text
    joined = meaning("CLBBB_LBBB")
    assert joined.text == "complete left bundle branch block or left bundle branch block" and not joined.snomed_ct
    assert meaning("733534002|164909002").text == joined.text


@pytest.mark.parametrize("label", ["", "label_3", "AFIB_", "afib", "AF|nothing", "|"])
def test_a_name_that_no_table_has_means_nothing(label):
    assert meaning(label) is None
