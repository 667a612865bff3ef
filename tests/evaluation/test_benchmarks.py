"""Benchmarks on records as published: their labels, folds and what is left out."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat

from ecg_signals.config import ConfigError
from ecg_signals.evaluation.benchmarks.base import Benchmark, Examples
from ecg_signals.evaluation.benchmarks.data import DataSet
from ecg_signals.metrics.cinc_codes import SCORED
from ecg_signals.registry import register_benchmark


def made(name: str, table: dict[str, list], folder: Path = Path("."), **options: Any) -> tuple[Benchmark, Examples]:
    entry = register_benchmark.get(name)
    benchmark = entry.cls(entry.dataclass.from_mapping(options))
    meta = pd.DataFrame({"idx": range(len(next(iter(table.values())))), **table})
    return benchmark, benchmark.examples(DataSet(folder, meta, folder))


def codes(name: str) -> str:
    return SCORED[name].split("|")[0]


def test_ptbxl_label_sets_have_the_published_folds_and_leave_out_what_has_no_label(golden: Path):
    table = pd.read_csv(golden / "benchmarks" / "ptbxl_labels" / "ptbxl_database.csv").to_dict("list")
    arrays = np.load(golden / "benchmarks" / "ptbxl_labels" / "expected.npz")
    for task in ("all", "diagnostic", "subdiagnostic", "superdiagnostic", "form", "rhythm"):
        _, found = made(f"ptbxl/{task}", table)
        np.testing.assert_array_equal(np.array(table["ecg_id"])[found.rows], arrays[f"{task}/min0/ecg_id"])
        np.testing.assert_array_equal(found.targets, arrays[f"{task}/min0/y"])
        np.testing.assert_array_equal(found.folds, arrays[f"{task}/min0/strat_fold"])
        assert set(found.folds[found.split == "test"]) == {10} and set(found.folds[found.split == "valid"]) == {9}
    _, single = made("ptbxl/superdiagnostic_single", table)
    np.testing.assert_array_equal(single.targets, arrays["superdiagnostic_single/y"])
    _, frequent = made("ptbxl/rhythm", table, min_samples=2)
    np.testing.assert_array_equal(frequent.targets, arrays["rhythm/min2/y"])


def test_an_age_above_89_is_unknown_and_counted(golden: Path):
    table = pd.read_csv(golden / "benchmarks" / "ptbxl_labels" / "ptbxl_database.csv").to_dict("list")
    benchmark, found = made("ptbxl/age", table)
    assert found.targets.max() < 90 and "20 records say no more than an age above 89" in benchmark.remarks[0]


def hospital(count: int, diagnoses: list[str], names: str = "E{:05d}") -> dict[str, list]:
    return {
        "path": [f"g/{names.format(number)}.hea" for number in range(count)],
        "diagnosis": [diagnoses[number % len(diagnoses)] for number in range(count)],
    }


def test_codes_of_enough_records_are_a_hospitals_labels_and_every_fold_has_its_share():
    diagnoses = [codes("AF"), f"{codes('NSR')}, ,", f"{codes('NSR')},123"] * 10 + [f"{codes('AF')},999"]
    benchmark, found = made("georgia", hospital(93, diagnoses))
    assert found.labels == ["123", "AF", "NSR"] and "1 codes are no labels" in benchmark.remarks[0]
    counts = [(found.targets[found.folds == fold] == 1).sum(axis=0) for fold in range(1, 11)]
    assert np.ptp(counts, axis=0).max() <= 1


def test_hospitals_are_told_apart_by_the_names_of_records():
    table = hospital(40, [codes("AF"), codes("SB")], "JS{:05d}")
    table["path"][20:] = [f"JS{10647 + number}.hea" for number in range(20)]
    assert made("chapman_shaoxing", table, min_records=1)[1].rows.tolist() == list(range(20))
    assert made("ningbo", table, min_records=1)[1].rows.tolist() == list(range(20, 40))
    with pytest.raises(ConfigError, match="no record"):
        made("georgia", table)


def test_cpsc2018_has_nine_classes_of_numbers_or_of_codes():
    numbers = {"First_label": [1, 2, 5] * 20, "Second_label": [np.nan, 5, np.nan] * 20, "Third_label": [np.nan] * 60,
               "path": [f"A{number:04d}.mat" for number in range(60)], "sex": [0, 1] * 30,
               "age": [30, 70] * 30}  # fmt: skip
    _, found = made("cpsc2018", numbers)
    assert found.labels == ["1AVB", "AFIB", "CLBBB", "CRBBB", "NORM", "PAC", "STD_", "STE_", "VPC"]
    texts = ["426783006", "164889003,59118001", "713427006"] * 20
    _, by_code = made("cpsc2018", {"diagnosis": texts, **{key: numbers[key] for key in ("path", "sex", "age")}})
    np.testing.assert_array_equal(found.targets, by_code.targets)
    np.testing.assert_array_equal(found.folds, by_code.folds)


def test_the_challenge_keeps_records_without_a_scored_class_and_writes_its_outputs(golden: Path, tmp_path: Path):
    dx = list(pd.read_json(golden / "benchmarks" / "cinc2021_metrics.json", typ="series")["dx_strings"])
    table = {"path": [f"JS{number:05d}.hea" for number in range(130)], "diagnosis": dx * 10}
    weights = golden / "benchmarks" / "cinc2021_weights.csv"
    benchmark, found = made("cinc2021", table, weights_file=str(weights))
    wanted = np.load(golden / "benchmarks" / "cinc2021_dx_encoded.npy")
    np.testing.assert_array_equal(found.targets, np.tile(wanted, (10, 1)))
    assert {"cinc_score", "exact_match"} <= benchmark.metrics(found.labels).keys()
    benchmark.write_outputs(tmp_path, ["JS00001.mat"], found.labels, found.targets[:1] == 1, found.targets[:1])
    name, classes, decisions, _ = (tmp_path / "outputs" / "JS00001.csv").read_text().splitlines()
    assert name == "#JS00001" and classes.count(",") == decisions.count(",") == 29


def test_sph_takes_primary_statements_and_keeps_patients_together():
    table = {"AHA_Code": ["22", "60+310;22", "1"] * 20, "patient_id": [f"S{number // 2}" for number in range(60)],
             "sex": [0] * 60, "age": [50] * 60}  # fmt: skip
    _, found = made("sph", table)
    assert found.labels == ["1", "22", "60"]
    assert all(len(set(found.folds[found.patients == patient])) == 1 for patient in np.unique(found.patients))


def test_columns_that_labels_are_made_of_must_be_there():
    with pytest.raises(ConfigError, match=r"column 'scp_codes'.*labels are made of"):
        made("ptbxl/all", {"strat_fold": [1, 9, 10]})


@pytest.mark.parametrize("stated", [True, False])
def test_what_was_measured_is_measured_again_on_other_signals(stated: bool, tmp_path: Path):
    (tmp_path / "org").mkdir()
    calls = []

    def data(number: int) -> DataSet:
        feats = np.full((1, 10 + number), number, dtype=np.float32)
        savemat(tmp_path / "org" / "a.mat", {"feats": feats, "curr_sample_rate": 100})
        table = {"idx": [0], "save_file": ["a.mat"], **({"signal_sha1": [f"{number}"]} if stated else {})}
        return DataSet(tmp_path, pd.DataFrame(table), tmp_path / "cache")

    def measure(signal: np.ndarray, rate: float) -> float:
        calls.append(rate)
        return float(signal.mean())

    first = data(1)
    assert [first.measured("mean", measure).tolist() for _ in range(2)] == [[1.0], [1.0]] and len(calls) == 1
    assert data(2).measured("mean", measure).tolist() == [2.0]
