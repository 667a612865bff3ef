"""Tables of the user's: which record a row means, who is in which split, and what is said of the rest."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ecg_signals.cli import preprocess
from ecg_signals.config import ConfigError
from ecg_signals.preprocess.splits import SplitRules, split_records


@pytest.fixture
def source(tmp_path):
    """Six records r0.npy to r5.npy."""
    rng = np.random.default_rng(0)
    (tmp_path / "src").mkdir()
    for i in range(6):
        np.save(tmp_path / "src" / f"r{i}.npy", rng.normal(size=(12, 2500)).astype("f4"))
    return tmp_path / "src"


@pytest.fixture
def typed(source, capsys):
    """Runs `ecg-preprocess npy` on the records; returns what it printed and meta.csv with its splits."""

    def run(*words: str, command: tuple[str, ...] = ("npy",)) -> tuple[str, pd.DataFrame]:
        dest = source.parent / "out"
        preprocess.run([*command, str(source), str(dest), "source_rate=500", "--workers", "1", *words])
        printed = capsys.readouterr().out
        if command != ("npy",):
            return printed, pd.DataFrame()
        meta, split = pd.read_csv(dest / "meta.csv"), pd.read_csv(dest / "meta_split.csv")
        return printed, meta.drop(columns=["split"], errors="ignore").merge(split[["idx", "split"]], on="idx")

    return run


def table(path: Path, rows: list[list[str]], separator: str = ",") -> Path:
    path.write_text("".join(separator.join(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("separator", [";", "\t", "|", ","])
@pytest.mark.parametrize("name", ["about.csv", "about.tsv"])
def test_a_table_beside_the_records_is_used_whatever_separates_its_columns(source, typed, separator, name):
    rows = [["Path", "Patient_ID", "afib"], *([f"r{i}", str(i // 2), str(i % 2)] for i in range(6))]
    table(source / name, rows, separator)
    printed, meta = typed()
    assert "1 labels" in printed and meta["patient_id"].tolist() == [0, 0, 1, 1, 2, 2]
    assert meta.groupby("patient_id")["split"].nunique().eq(1).all()
    assert np.load(source.parent / "out/labels/y.npy").ravel().tolist() == [0, 1, 0, 1, 0, 1]


def test_a_table_that_names_no_files_is_said_not_to_be_used(source, typed):
    table(source / "list.csv", [["record", "afib"], ["r0", "1"]])
    printed, _ = typed()
    assert "list.csv beside the records is not used: it has no column path, filename, file (found record, af" in printed


def test_rows_without_a_record_and_records_without_a_row_are_counted_and_named(source, typed):
    table(source / "about.csv", [["path", "afib"], ["r0.npy", "1"], ["r1", "0"], ["r9.npy", "1"]])
    printed, _ = typed()
    assert "1 of 3 rows of" in printed and "name no record: r9.npy" in printed
    assert "4 of 6 records have no row in" in printed and "r2.npy, r3.npy, r4.npy and 1 more" in printed


def test_a_table_of_which_no_row_names_a_record_is_an_error(source, typed):
    table(source / "about.csv", [["path", "afib"], ["x0.npy", "1"], ["x1.npy", "0"]])
    with pytest.raises(ConfigError, match=r"no row of .*about\.csv names a record \(found x0\.npy, x1\.npy; records"):
        typed()
    assert not (source.parent / "out").exists()


@pytest.mark.parametrize("form", ["r{}", "r{}.npy", "{}/r{}.npy", "./r{}.npy", "..\\src\\r{}.npy"])
def test_a_label_file_names_records_with_or_without_extension_and_folder(source, typed, form):
    names = [form.format(i) if form.count("{}") == 1 else form.format(source, i) for i in range(6)]
    file = table(source.parent / "l.csv", [["path", "af"], *([name, str(i % 2)] for i, name in enumerate(names))])
    printed, _ = typed(f"label_file={file}")
    assert np.load(source.parent / "out/labels/y.npy").ravel().tolist() == [0, 1, 0, 1, 0, 1]
    assert "name no record" not in printed and "have no row" not in printed


def test_a_label_file_that_matches_in_part_is_counted_and_one_that_matches_nothing_is_an_error(source, typed):
    file = table(source.parent / "l.csv", [["idx", "af"], ["0", "1"], ["", "0"], ["77", "1"]])
    printed, _ = typed(f"label_file={file}")
    assert "2 of 3 rows of" in printed and "77" in printed and "5 of 6 records have no row in" in printed
    table(file, [["path", "af"], ["a", "1"], ["b", "0"]])
    with pytest.raises(ConfigError, match=r"no row of .*l\.csv names a record \(found a, b"):
        typed(f"label_file={file}")


@pytest.mark.parametrize("command", [("npy",), ("hubert", "npy")])
def test_a_patient_in_several_splits_is_an_error_until_it_is_allowed(source, typed, command):
    splits = ("train", "valid", "test", "test", "test", "test")
    rows = [[f"r{i}.npy", "7" if i % 2 else "8", splits[i]] for i in range(6)]
    table(source / "about.csv", [["path", "patient_id", "split"], *rows])
    with pytest.raises(ConfigError, match=r"2 of 2 patients are in several splits: 7 \(valid, test\), 8 \(train"):
        typed(command=command)
    printed, _ = typed("shared_patients=true", command=command)
    assert "2 of 2 patients are in several splits" in printed


def test_every_split_gets_a_patient_where_there_are_enough(source, typed):
    printed, meta = typed()
    assert meta["split"].value_counts().to_dict() == {"train": 4, "valid": 1, "test": 1} and "empty" not in printed
    for count in range(3, 40):
        found = split_records(pd.DataFrame({"idx": range(count), "save_file": "x"}), SplitRules())["split"]
        assert set(found) == {"train", "valid", "test"}
    two = split_records(pd.DataFrame({"idx": range(2), "save_file": "x"}), SplitRules())["split"]
    assert "train" in set(two)


def test_a_split_that_stays_empty_is_said(source, typed):
    table(source / "about.csv", [["path", "split"], *([f"r{i}.npy", "train"] for i in range(6))])
    printed, _ = typed()
    assert "valid is empty" in printed and "test is empty" in printed


def test_without_patients_the_split_says_that_it_is_by_file(source, typed):
    printed, _ = typed()
    assert "6 of 6 records name no patient: the split is by file" in printed and "patient_from_folder=true" in printed
    table(source / "about.csv", [["path", "patient_id"], *([f"r{i}.npy", "7" if i < 3 else ""] for i in range(6))])
    printed, _ = typed()
    assert "3 of 6 records name no patient: these are divided by file" in printed


@pytest.mark.parametrize("command", [("npy",), ("hubert", "npy")])
def test_equal_signals_in_two_splits_are_counted_and_named(source, typed, command):
    np.save(source / "r5.npy", np.load(source / "r0.npy"))
    rows = [[f"r{i}.npy", ("train", "train", "train", "train", "valid", "test")[i]] for i in range(6)]
    table(source / "about.csv", [["path", "split"], *rows])
    printed, _ = typed(command=command)
    assert "1 signals are in several splits, sample by sample: r0.npy (train) = r5.npy (test)" in printed


def test_preparing_a_folder_holds_the_same_rules(source, capsys):
    folder = source.parent / "mine"
    folder.mkdir()
    source.rename(folder / "raw")
    rows = [[f"r{i}.npy", "7", ("train", "valid")[i % 2]] for i in range(6)]
    table(folder / "raw" / "about.csv", [["path", "patient_id", "split"], *rows])
    with pytest.raises(ConfigError, match="1 of 1 patients are in several splits"):
        preprocess.run(["prepare", str(folder), "source_rate=500", "--workers", "1"])
    (folder / "raw" / "about.csv").unlink()
    preprocess.run(["prepare", str(folder), "source_rate=500", "--workers", "1"])
    assert "6 of 6 records name no patient" in capsys.readouterr().out


def test_a_name_that_no_file_system_takes_is_a_row_without_a_record(source, typed):
    table(source / "about.csv", [["path", "afib"], ["r" + "9" * 300, "1"], *([f"r{i}", str(i % 2)] for i in range(6))])
    printed, meta = typed()
    assert "r999" in printed and len(meta) == 6
