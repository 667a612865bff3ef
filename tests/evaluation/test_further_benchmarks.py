"""Benchmarks of further papers: splits of tables, columns in their order, what lacks, thresholds and baselines."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat
from test_benchmarks import made  # type: ignore[import-not-found]

from ecg_signals.config import ConfigError
from ecg_signals.evaluation.benchmarks.data import DataSet
from ecg_signals.preprocess.datasets.echonext import FINDINGS, column_of

NAMES = {"cpsc2018": ("icbeb", "A{:04d}.hea"), "csn": ("chapman", "WFDBRecords/01/010/JS{:05d}.hea")}
PTBXL = {"super": "super_class", "sub": "sub_class", "form": "form", "rhythm": "rhythm"}


@pytest.fixture(scope="module")
def splits(golden: Path) -> dict[str, Any]:
    return json.loads((golden / "benchmarks_more" / "merl_splits.json").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_merls_tables_are_given_exactly_and_in_their_order(name: str, golden: Path, splits: dict[str, Any]):
    arrays = np.load(golden / "benchmarks_more" / "merl_splits.npz")
    theirs, form = NAMES[name]
    numbers = np.arange(1, 45153 if name == "csn" else 6878)
    every = np.unique([*numbers, *arrays[f"{theirs}_train_id"], *arrays[f"{theirs}_test_id"]])
    if name == "csn":
        every = np.union1d(every, arrays["chapman_val_id"])
    benchmark, found = made(f"merl/{name}", {"path": [form.format(number) for number in every.tolist()]})
    for split, called in (("train", "train"), ("valid", "val"), ("test", "test")):
        mine, wanted = found.split == split, splits[f"{theirs}_{called}"]
        np.testing.assert_array_equal(every[found.rows[mine]], arrays[f"{theirs}_{called}_id"])
        bits = np.unpackbits(arrays[f"{theirs}_{called}_y"], axis=1)[:, : len(found.labels)]
        np.testing.assert_array_equal(found.targets[mine], bits)
        assert found.labels == wanted["labels"] and found.targets[mine].sum(axis=0).tolist() == wanted["positives"]
    assert "merl_reported" in benchmark.remarks[0] and len(benchmark.remarks) == 1


def test_records_of_merls_tables_that_lack_are_counted():
    benchmark, found = made("merl/cpsc2018", {"path": [f"A{number:04d}.mat" for number in range(1, 1001)]})
    lacking = {split: int((found.split == split).sum()) for split in ("train", "valid", "test")}
    assert len(found.rows) == 1000 and f"{4950 - lacking['train']:,} of 4,950 train" in benchmark.remarks[1]
    with pytest.raises(ConfigError, match="no record"):
        made("merl/csn", {"path": ["A0001.mat"]})


@pytest.mark.parametrize("name", PTBXL)
def test_merls_ptbxl_has_its_folds_and_columns_and_the_labels_of_ptbxls_benchmark(
    name: str, golden: Path, splits: dict[str, Any]
):
    table = pd.read_csv(golden / "benchmarks" / "ptbxl_labels" / "ptbxl_database.csv").to_dict("list")
    task = {"super": "superdiagnostic", "sub": "subdiagnostic"}.get(name, name)
    _, found = made(f"merl/{name}", table)
    _, usual = made(f"ptbxl/{task}", table)
    wanted = splits[f"ptbxl_{PTBXL[name]}_train"]
    assert found.labels == wanted["labels"] and set(found.folds[found.split == "train"]) <= set(range(1, 9))
    np.testing.assert_array_equal(found.rows, usual.rows)
    for column, label in enumerate(usual.labels):
        mine = found.labels.index(label.strip("_"))
        np.testing.assert_array_equal(found.targets[:, mine], usual.targets[:, column])


def test_merls_sub_tables_score_three_answers_against_other_labels(golden: Path, splits: dict[str, Any]):
    table = pd.read_csv(golden / "benchmarks" / "ptbxl_labels" / "ptbxl_database.csv").to_dict("list")
    _, named = made("merl/sub", table)
    benchmark, published = made("merl/sub", table, columns="published")
    train = named.split == "train"
    np.testing.assert_array_equal(published.targets[train], named.targets[train])
    order = [named.labels.index(label) for label in splits["ptbxl_sub_class_test"]["labels"]]
    np.testing.assert_array_equal(published.targets[~train], named.targets[~train][:, order])
    assert "as published" in benchmark.remarks[-1]


def echonext(count: int) -> dict[str, list]:
    rng = np.random.default_rng(0)
    splits = ["train"] * (count - 30) + ["val"] * 10 + ["test"] * 10 + ["no_split"] * 10
    flags = {column_of(name): rng.integers(2, size=count).tolist() for name in FINDINGS}
    return {"split": splits, "patient_id": [f"p{number // 2}" for number in range(count)], **flags}


def test_echonext_has_its_published_split_and_training_folds_by_patient():
    table = echonext(90)
    _, found = made("echonext/all", table)
    assert found.labels[0] == "lvef_lte_45" and found.labels[-1] == "tr_max_gte_32" and len(found.labels) == 11
    assert [int((found.split == name).sum()) for name in ("train", "valid", "test")] == [60, 10, 10]
    train = found.split == "train"
    assert set(found.folds[train]) == set(range(1, 9))
    assert all(len(set(found.folds[found.patients == patient])) == 1 for patient in np.unique(found.patients[train]))
    benchmark, single = made("echonext/lvef45", table)
    np.testing.assert_array_equal(single.targets[:, 0], found.targets[:, 0])
    assert "balanced_accuracy" in benchmark.metrics(single.labels) and benchmark.tuning.split == "valid"
    cuts = benchmark.tuning.best(np.array([[0.0], [0.0], [1.0]]), np.array([[0.1], [0.2], [0.4]]))
    assert 0.2 <= cuts[0] < 0.4


def test_the_reference_comparisons_ptbxl_leaves_out_what_fewer_than_ten_records_have(golden: Path):
    table = pd.read_csv(golden / "benchmarks" / "ptbxl_labels" / "ptbxl_database.csv").to_dict("list")
    _, found = made("fmb/ptbxl_all", table)
    _, whole = made("ptbxl/all", table)
    counts = dict(zip(whole.labels, whole.targets.sum(axis=0)))
    assert found.labels == [label for label in whole.labels if counts[label] >= 10]


def test_a_sheet_of_mappings_names_codes_and_drops_those_that_it_lacks(tmp_path: Path):
    (tmp_path / "sheet.csv").write_text(
        "SNOMED code,Diagnosis in the dataset\n164889003,AF\n195080001,AF\n426783006,Sinus Rhythm\n,none\n"
    )
    table = {"path": [f"Q{number:04d}.hea" for number in range(40)],
             "diagnosis": ["164889003", "195080001,999", "426783006", "999"] * 10}  # fmt: skip
    benchmark, found = made("fmb/cpsc_extra", table, mappings=str(tmp_path / "sheet.csv"))
    assert found.labels == ["AF", "Sinus Rhythm"] and found.targets.sum(axis=0).tolist() == [20, 10]
    assert any("10 of 40 records are left out" in remark for remark in benchmark.remarks)
    assert "999" in made("fmb/cpsc_extra", table)[1].labels


def test_ptbs_diagnoses_have_one_name_and_infarctions_an_age():
    about = [  # reason, further ones, infarction, catheterization
        ("Myocardial infarction", "Arterial Hypertension, Hyperlipidemia", "29-Sep-90", "n/a"),
        ("Myocardial infarction", "no", "29-Sep-90", "30-Sep-90"),
        ("Myocardial infarction", "n/a", "01-May-89", "n/a"),
        ("Healthy control", "unknown", "n/a", "n/a"),
    ]
    columns = ("diagnosis", "additional_diagnoses", "infarction_date", "catheterization_date")
    table = {name: [row[place] for row in about] * 10 for place, name in enumerate(columns)}
    table |= {"ecg_date": ["01/10/1990"] * 40, "patient_id": [f"patient{number // 2:03d}" for number in range(40)]}
    _, found = made("fmb/ptb", table)
    assert found.labels == [
        "Arterial hypertension", "Healthy control", "Hyperlipoproteinemia", "Myocardial infarction acute",
        "Myocardial infarction acute catheterized", "Myocardial infarction old",
    ]  # fmt: skip
    assert set(found.folds) == {1, 2, 3, 4, 5} and set(found.folds[found.split == "test"]) == {5}
    assert all(len(set(found.folds[found.patients == patient])) == 1 for patient in np.unique(found.patients))


def test_chapmans_code15s_and_echonexts_labels_are_those_of_the_reference_comparison():
    table = {"rhythm": ["SR", "AFIB"] * 20, "beat": ["NONE", "TWC PVC"] * 20}
    assert made("fmb/chapman", table)[1].labels == ["AFIB", "PVC", "SR", "TWC"]
    flags = {name: [0] * 30 + [int(name == "AF")] * 30 for name in ("1dAVb", "RBBB", "LBBB", "SB", "AF", "ST")}
    _, code = made("fmb/code15", {**flags, "patient_id": list(range(60)), "sex": [0, 1] * 30, "age": [50] * 60})
    assert code.labels == ["1dAVb", "RBBB", "LBBB", "SB", "AF", "ST"] and len(code.rows) == 60
    table = echonext(90)
    for column in [column_of(name) for name in FINDINGS]:
        table[column][0] = table[column][75] = 0  # one that trains, one that tests
    benchmark, found = made("fmb/echonext", table)
    assert 0 in found.rows and 75 not in found.rows and "1 records of validation and test" in benchmark.remarks[-1]


def test_of_zzu_pecg_whole_records_of_twelve_leads_count_by_their_aha_codes():
    count, about = 60, ["'C21'", "'C21';'Left ventricular high voltage'", "'D31'", "Null", "'B7'"]
    table = {
        "AHA_code": [about[number % 4] if number else about[4] for number in range(count)],
        "Lead": [9 if number in (4, 8) else 12 for number in range(count)],
        "Sampling_point": [4999 if number == 3 else 5000 + number for number in range(count)],
        "patient_id": [f"P{number // 2:05d}" for number in range(count)], "sex": [0, 1] * 30,
        "age": [number % 18 for number in range(count)],
    }  # fmt: skip
    _, found = made("fmb/zzu_pecg", table)
    assert found.labels == ["C21", "D31"] and found.targets.sum(axis=0).tolist() == [27, 15]
    assert set(range(count)) - set(found.rows.tolist()) == {3, 4, 8}  # a record without a statement is scored, too
    assert all(len(set(found.folds[found.patients == patient])) == 1 for patient in np.unique(found.patients))
    groups = [made("fmb/zzu_pecg", table)[0].stratum(np.array([0.5, 4, 17]), "age")]
    assert groups == [["age 0", "age 1", "age 3"]]


def mimic(count: int) -> dict[str, list]:
    return {
        "patient_id": [number // 2 for number in range(count)], "study_id": [1000 + number for number in range(count)],
        "rr_interval": [800, 29999, 6000, 0] * (count // 4), "qrs_onset": [100, 100, 29999, 100] * (count // 4),
        "qrs_end": [200, 90, 200, 180] * (count // 4), "t_end": [500, 500, 500, 500] * (count // 4),
        "p_axis": [40, -400, 29999, 40] * (count // 4), "qrs_axis": [-30] * count, "t_axis": [10] * count,
        "age": [50.5, 91, 20, 30] * (count // 4), "sex": [1, 0, np.nan, 1] * (count // 4),
    }  # fmt: skip


def test_what_the_machine_did_not_measure_is_unknown_by_column():
    _, found = made("mimic_multitask/ecg", mimic(80))
    assert found.labels == ["rr", "qrs", "qt", "qtc", "p_axis", "qrs_axis", "t_axis"]
    nan = np.nan
    wanted = [[800, 100, 400, 400 / np.sqrt(0.8), 40, -30, 10], [nan, nan, 400, nan, nan, -30, 10],
              [nan, nan, nan, nan, nan, -30, 10], [nan, 80, 400, nan, 40, -30, 10]]  # fmt: skip
    np.testing.assert_allclose(found.targets, wanted * 20)
    assert [int((found.folds == fold).sum()) for fold in range(1, 11)] == [8] * 10  # 40 patients of two records
    assert all(len(set(found.folds[found.patients == patient])) == 1 for patient in np.unique(found.patients))
    _, ages = made("mimic_multitask/age", mimic(80))
    assert set(ages.targets[:, 0]) == {50.5, 20, 30}  # 91 stands for all above 89
    _, sexes = made("mimic_multitask/sex", mimic(80))
    assert sexes.labels == ["female"] and set(sexes.targets[:, 0]) == {0, 1} and len(sexes.rows) == 60
    with pytest.raises(ConfigError, match="mimic_iv_root"):
        made("mimic_multitask/age", {"patient_id": [1], "rr_interval": [800]})


def test_mimics_published_folds_are_taken_two_by_two(tmp_path: Path):
    lines = ["study_id,strat_fold", *(f"{1000 + number},{number // 2 % 20}" for number in range(78))]
    (tmp_path / "folds.csv").write_text("\n".join(lines) + "\n")
    benchmark, found = made("mimic_multitask/axes", mimic(80), folds_file=str(tmp_path / "folds.csv"))
    fold = found.rows // 2 % 20
    listed = found.rows < 78
    assert set(fold[listed & (found.split == "test")]) == {18, 19} and set(fold[found.split == "valid"]) == {16, 17}
    assert "2 records have no fold in folds.csv; they train" in benchmark.remarks[-1]


def test_the_median_of_training_records_is_what_values_are_compared_with(golden: Path):
    table = pd.read_csv(golden / "benchmarks" / "ptbxl_labels" / "ptbxl_database.csv").to_dict("list")
    benchmark, found = made("ptbxl/age", table)
    answers = benchmark.baselines(None, found)["train median"]
    assert set(answers[:, 0]) == {np.nanmedian(found.targets[found.split == "train"])}
    assert not made("ptbxl/all", table)[0].baselines(None, found)


def test_beats_are_counted_in_test_records_alone(tmp_path: Path):
    table = mimic(80)
    benchmark, found = made("mimic_multitask/rr", table)
    tested = found.rows[found.split == "test"]
    names = [f"r{number}.mat" for number in range(80)]
    (tmp_path / "org").mkdir()
    time = np.arange(1000) / 100
    beats = np.exp(-(((time % 0.8) - 0.4) ** 2) / 0.0008)
    for number in tested.tolist():
        feats = np.tile(beats, (12, 1)).astype(np.float32)
        savemat(tmp_path / "org" / names[number], {"feats": feats, "curr_sample_rate": 100})
    meta = pd.DataFrame({"idx": range(80), "save_file": names, **table})
    answers = benchmark.baselines(DataSet(tmp_path, meta, tmp_path / "cache"), found)
    np.testing.assert_allclose(answers["detected beats"][found.split == "test"], 800, atol=10)
