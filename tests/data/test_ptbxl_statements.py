"""The label sets of PTB-XL: the published rules, on invented records of every corner case."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ecg_signals.config import parse_literal
from ecg_signals.data.ptbxl_statements import STATEMENTS, TASKS, class_of, label_sets
from ecg_signals.preprocess.datasets.ptbxl import Ptbxl, PtbxlConfig


@pytest.fixture(scope="module")
def invented(golden: Path) -> tuple[pd.DataFrame, dict[str, np.ndarray], dict[str, dict]]:
    folder = golden / "benchmarks" / "ptbxl_labels"
    expected = json.loads((folder / "expected.json").read_text())
    return pd.read_csv(folder / "ptbxl_database.csv"), dict(np.load(folder / "expected.npz")), expected


def codes_of(table: pd.DataFrame) -> list[dict[str, float]]:
    return [parse_literal(text, "scp_codes") for text in table["scp_codes"]]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("samples", [0, 2])
def test_label_matrices_are_the_published_ones(invented, task: str, samples: int):
    table, arrays, expected = invented
    found = label_sets(codes_of(table), task, least=samples + 1)
    check(found, table, arrays, expected, f"{task}/min{samples}")


def test_records_of_one_superclass_are_the_published_ones(invented):
    table, arrays, expected = invented
    check(label_sets(codes_of(table), "superdiagnostic", single=True), table, arrays, expected,
          "superdiagnostic_single")  # fmt: skip


def test_likelihood_changes_the_labels_if_it_is_made_to_count(invented):
    table, arrays, expected = invented
    sure = [{code for code, likelihood in codes.items() if likelihood == 100} for codes in codes_of(table)]
    check(label_sets(sure, "superdiagnostic"), table, arrays, expected, "superdiagnostic_lik100")


def test_the_other_rule_counts_classes_of_just_enough_records(invented):
    table, arrays, expected = invented
    found = label_sets(codes_of(table), "all", least=2)
    np.testing.assert_array_equal([len(classes) for classes in found], arrays["hhi_label_all_min_cnt2/n_labels"])
    assert sorted(set().union(*found)) == expected["hhi_label_all_min_cnt2"]["classes"]


def check(found: list[set[str]], table: pd.DataFrame, arrays, expected, key: str) -> None:
    names, kept = sorted(set().union(*found)), np.array([bool(classes) for classes in found])
    assert names == expected.get(key, {"classes": names})["classes"]
    for column in ("ecg_id", "strat_fold"):
        np.testing.assert_array_equal(table[column][kept], arrays.get(f"{key}/{column}", table[column][kept]))
    hot = np.array([[name in classes for name in names] for classes in found if classes])
    np.testing.assert_array_equal(hot, arrays[f"{key}/y"])


def test_the_built_in_statements_are_those_of_the_published_table(golden: Path):
    folder = golden / "benchmarks" / "ptbxl_labels"
    assert Ptbxl(folder, PtbxlConfig()).statements() == STATEMENTS
    assert [len(set(class_of(task).values())) for task in TASKS] == [71, 44, 23, 5, 19, 12]
