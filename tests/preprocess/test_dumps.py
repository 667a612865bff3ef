"""`ecg-preprocess dump` and `statistics`: the arrays of ECG-JEPA's own scripts."""

import hashlib
import json
import shutil

import numpy as np
import pytest

from ecg_signals.cli.preprocess import run
from ecg_signals.config import ConfigError, UsageError
from ecg_signals.data.sources.dumps import Dump, read_notes


def sha256(values):
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def golden(shared, name):
    return json.loads((shared / "golden/jepa" / name).read_text())


def dumped(*words):
    run(["dump", *map(str, words), "--workers", "1"])
    return words[1]


FOLDERS = {"cpsc": "cpsc", "georgia": "georgia", "chapman_ningbo": "ningbo", "ptb_ptbxl": "cpsc"}


@pytest.mark.parametrize("name, dataset", FOLDERS.items())
@pytest.mark.filterwarnings("ignore:.*99th percentile")
def test_challenge_records_are_the_published_float16(shared, tmp_path, name, dataset):
    wanted = golden(shared, "dumps.json")[name]
    source = shared / "data/physionet2021_sample" / name
    if name == "ptb_ptbxl":  # of two rates: only records of the first are taken
        source = shutil.copytree(source, tmp_path / "in", ignore=shutil.ignore_patterns("S0*"))
        wanted["records_sorted"] = [one for one in wanted["records_sorted"] if one["record"].startswith("HR")]
    path = dumped(source, tmp_path / "d.npz", "--dataset", dataset)
    found = Dump(path)
    assert found.samples.tolist() == [one["samples"] for one in wanted["records_sorted"]]
    hashes = [one["sha256_float16_time_by_lead"] for one in wanted["records_sorted"]]
    assert [sha256(found.read(number).T) for number in range(len(found))] == hashes
    with np.load(path) as plain:
        assert plain["data"].dtype == np.float16 and plain["sizes"].dtype == np.int64
        if name != "ptb_ptbxl":
            assert sha256(plain["data"]) == wanted["variable_dump"]["sha256"]


@pytest.mark.filterwarnings("ignore:.*99th percentile")
def test_ptbxl_dump_its_folds_and_statistics_are_the_published_ones(shared, tmp_path, capsys):
    wanted, source = golden(shared, "dumps.json"), shared / "data/ptbxl_500"
    path = dumped(source, tmp_path / "ptb-xl.npy", "--dataset", "ptb-xl")
    assert sha256(np.load(path)) == wanted["ptbxl_500"]["sha256"]
    notes = read_notes(path)
    np.testing.assert_allclose(notes.mean, wanted["ptbxl_500"]["mean"], atol=1e-6)
    np.testing.assert_allclose(notes.std, wanted["ptbxl_500"]["std_ddof1"], atol=1e-6)
    for number, more in enumerate([[], ["--rows-of", path]]):
        words = ["--dataset", "ptb-xl", "--folds", *range(1, 9), *more]
        split = np.load(dumped(source, tmp_path / f"{number}.npy", *words))
        assert split.shape == (353, 5000, 12) and sha256(split) == wanted["ptbxl_500_split_folds_1_8"]["sha256"]
    run(["statistics", str(path), "--out", str(tmp_path / "s.json")])
    assert json.loads((tmp_path / "s.json").read_text())["std"] == pytest.approx(notes.std)


@pytest.mark.filterwarnings("ignore:.*99th percentile")
def test_code15_records_are_complete_or_cut_as_published(shared, tmp_path):
    source, wanted = shared / "golden/jepa/code15_dump", golden(shared, "code15_dump/expected.json")
    complete = np.load(dumped(source, tmp_path / "c.npy", "--dataset", "code-15"))
    assert [sha256(record) for record in complete] == wanted["complete_sha256"]
    rest = np.load(dumped(source, tmp_path / "v.npz", "--dataset", "code-15", "--incomplete"))
    assert rest["sizes"].tolist() == wanted["variable_sizes"] and sha256(rest["data"]) == wanted["variable_sha256"]
    everything = Dump(dumped(source, tmp_path / "a.npz", "--dataset", "code-15"))
    assert len(everything) == 6


def test_a_dump_is_made_of_a_dump_with_bridged_gaps_and_without_wander(shared, tmp_path):
    stages = np.load(shared / "golden/jepa/preprocess/stages.npz")
    np.save(tmp_path / "code-15.npy", stages["raw"][None])
    bridged = np.load(dumped(tmp_path / "code-15.npy", tmp_path / "b.npy", "--interpolate-nans"))[0]
    np.testing.assert_array_equal(bridged, stages["interpolated"])
    steady = dumped(tmp_path / "code-15.npy", tmp_path / "s.npy", "--interpolate-nans", "--remove-baseline-wander")
    found, wanted = np.load(steady)[0], stages["highpass_fs400"]
    assert found.dtype == wanted.dtype == np.float16  # of which the last digit depends on the processor
    assert (np.abs(found - wanted) <= np.spacing(np.maximum(np.abs(found), np.abs(wanted)))).all()
    assert (found != wanted).mean() < 0.001
    assert read_notes(steady).baseline_removed and read_notes(steady).sample_rate == 400


def test_what_cannot_become_a_dump_is_said(shared, tmp_path):
    source = shared / "data/physionet2021_sample/cpsc"
    with pytest.raises(UsageError, match=r"add --dataset"):
        dumped(source.parent / "sph", tmp_path / "d.npz")
    with pytest.raises(UsageError, match=r"\.npy .*\.npz"):
        dumped(source, tmp_path / "d.bin", "--dataset", "cpsc")
    with pytest.raises(ConfigError, match="written over the input"):
        np.save(tmp_path / "ptb-xl.npy", np.zeros((1, 10, 12), np.float16))
        dumped(tmp_path / "ptb-xl.npy", tmp_path / "ptb-xl.npy")
    with pytest.raises(ConfigError, match="strat_fold"):
        dumped(source, tmp_path / "d.npz", "--dataset", "cpsc", "--folds", 1)
    assert not list(tmp_path.glob("d.*")) and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("min_samples", [0, 3])
@pytest.mark.parametrize("task", ["all", "diagnostic", "subdiagnostic", "superdiagnostic", "form", "rhythm"])
def test_ptbxl_tasks_have_the_published_labels(shared, task, min_samples):
    from ecg_signals.preprocess.datasets.ptbxl import Ptbxl, PtbxlConfig

    found = golden(shared, "labels.json")
    wanted = found.get(f"{task}/min_samples_3" if min_samples else task, found[task])
    source = Ptbxl(shared / "data/ptbxl_500", PtbxlConfig(labels=task, min_samples=min_samples))
    meta = source.records().assign(idx=range(500))
    table = source.labels(meta)
    assert list(table.columns[1:]) == wanted["classes"]
    kept = table[table.iloc[:, 1:].notna().all(axis=1)]
    assert kept["idx"].tolist() == wanted["row_index"]
    rows = ["".join(str(int(value)) for value in row) for row in kept.iloc[:, 1:].to_numpy()]
    assert rows == wanted["y_rows"]
    splits = source.split(meta).value_counts()
    assert [int(splits[name]) for name in ("train", "valid", "test")] == wanted["train_val_test_9_10"]


def test_records_of_a_single_superclass_are_those_st_mem_is_compared_on(shared):
    from ecg_signals.preprocess.datasets.ptbxl import Ptbxl, PtbxlConfig

    wanted = golden(shared, "labels.json")["superdiagnostic"]["ST-MEM"]
    source = Ptbxl(shared / "data/ptbxl_500", PtbxlConfig(labels="superdiagnostic", single_label=True))
    meta = source.records().assign(idx=range(500))
    assert meta["idx"][source.split(meta).notna()].tolist() == wanted["row_index"]
