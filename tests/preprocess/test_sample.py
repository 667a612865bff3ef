"""The repository's own sample of PTB-XL."""

import ast
import csv
from importlib import resources
from pathlib import Path

import pytest

SAMPLE = Path(__file__).parents[2] / "examples" / "sample"


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with open(SAMPLE / "ptbxl_database.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_sample_is_whole_and_at_most_12_mb(rows):
    for row in rows:
        assert (SAMPLE / row["filename_hr"]).with_suffix(".dat").stat().st_size == 12 * 5000 * 2
        assert (SAMPLE / row["filename_hr"]).with_suffix(".hea").is_file()
    assert {"LICENSE.txt", "README.md", "scp_statements.csv"} <= {path.name for path in SAMPLE.iterdir()}
    shipped = [path for path in SAMPLE.rglob("*") if "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in shipped if path.is_file()) <= 12_000_000
    assert len(list(SAMPLE.glob("records500/*/*.dat"))) == len(rows)


def test_several_labels_have_positives_in_every_split_and_no_patient_is_in_two(rows):
    labels, patients = {}, {}
    for row in rows:
        split = {"9": "valid", "10": "test"}.get(row["strat_fold"], "train")
        labels.setdefault(split, set()).update(ast.literal_eval(row["scp_codes"]))
        assert patients.setdefault(row["patient_id"], split) == split
    assert len(labels["train"] & labels["valid"] & labels["test"]) >= 20


def test_sample_is_reachable_as_a_package():
    assert resources.files("ecg_signals.sample").joinpath("ptbxl_database.csv").is_file()
