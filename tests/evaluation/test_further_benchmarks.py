"""Benchmarks of further papers: splits of tables, columns in their order, what lacks, thresholds and baselines."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from test_benchmarks import made  # type: ignore[import-not-found]

from ecg_signals.config import ConfigError

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
