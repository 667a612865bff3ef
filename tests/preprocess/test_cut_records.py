"""ecg-preprocess windows: a tree of records as windows and an index, compared with golden/st_mem/process_ecg.json."""

import hashlib
import json
import pickle
import shutil

import numpy as np
import pandas as pd
import pytest

from ecg_signals.cli.preprocess import run
from ecg_signals.config import ConfigError, UsageError
from ecg_signals.preprocess.windows import pickled
from ecg_signals.registry import get_entry


def cut(source, dest, *options):
    run(["windows", str(source), str(dest), "--workers", "1", *options])
    return pd.read_csv(dest / "index.csv")


def write_record(folder, name, signal, rate=100, leads=None):
    """A WFDB record in format 16; NaN is its mark for a gap."""
    leads = leads or ["I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6"]
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    values = np.where(np.isnan(signal), -32768, np.nan_to_num(signal) * 1000).astype("<i2")
    values.T.tofile(folder / f"{name}.dat")
    stem = name.rpartition("/")[2]
    lines = [f"{stem} {len(leads)} {rate} {signal.shape[1]}", *(f"{stem}.dat 16 1000/mV 16 0 0 0 0 {n}" for n in leads)]
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n")


def signal(samples=2500, leads=12):
    return np.random.default_rng(0).integers(-900, 900, (leads, samples)) / 1000


@pytest.mark.parametrize("part", ["cpsc", "ptb_ptbxl"])
@pytest.mark.parametrize("form", ["pkl", "npy"])
def test_windows_are_the_published_ones_bit_by_bit(golden, data, tmp_path, part, form):
    known = json.loads((golden / "st_mem" / "process_ecg.json").read_text())[part]
    found = cut(data / "physionet2021_sample" / part, tmp_path, "--format", form)
    assert list(found.columns) == known["columns"] and len(found) == len(known["rows"])
    for row, wanted in zip(found.to_dict("records"), known["rows"]):
        assert row["RELATIVE_FILE_PATH"] == row["FILE_NAME"] == wanted["RELATIVE_FILE_PATH"].replace(".pkl", f".{form}")
        assert row["SAMPLE_RATE"] == wanted["SAMPLE_RATE"] and pd.isna(row["SOURCE"])
        path = tmp_path / row["FILE_NAME"]
        array = pickle.loads(path.read_bytes()) if form == "pkl" else np.load(path)
        assert list(array.shape) == wanted["shape"] and str(array.dtype) == wanted["dtype"]
        assert hashlib.sha256(array.tobytes()).hexdigest() == wanted["sha256"]


@pytest.mark.parametrize("form", ["pkl", "npy"])
def test_our_dataset_reads_what_was_cut(tmp_path, form):
    write_record(tmp_path / "raw", "a/b/r", signal())
    write_record(tmp_path / "raw", "s", signal(1000))
    found = cut(tmp_path / "raw", tmp_path / "cut", "--format", form)
    assert found["FILE_NAME"].tolist() == [f"a/b/r_0.{form}", f"a/b/r_1.{form}", f"s_0.{form}"]
    assert found["SOURCE"].fillna("").tolist() == ["a", "a", ""]
    entry = get_entry("dataset", "st_mem_index")
    dataset = entry.cls(entry.dataclass(sample_rate=250), tmp_path / "cut" / "index.csv")
    assert len(dataset) == 3 and all(dataset[index]["source"].shape == (12, 2250) for index in range(3))


def test_raw_ptbxl_is_cut_although_it_spells_avr_in_capitals(data, tmp_path):
    folder = data / "ptbxl_500" / "records500" / "00000"
    names = sorted(folder.glob("*.hea"))[:2]
    for header in names:
        for path in (header, header.with_suffix(".dat")):
            (tmp_path / "raw" / "x").mkdir(parents=True, exist_ok=True)
            shutil.copy(path, tmp_path / "raw" / "x" / path.name)
    assert "AVR" in names[0].read_text()
    found = cut(tmp_path / "raw", tmp_path / "cut")
    assert found["FILE_NAME"].tolist() == [f"x/{path.stem}_0.npy" for path in names]


def test_windows_with_gaps_short_records_and_missing_leads_are_left_out_and_told(tmp_path, capsys):
    gaps = signal(3500)
    gaps[3, 1500] = np.nan
    write_record(tmp_path / "raw", "gap", gaps)
    write_record(tmp_path / "raw", "short", signal(999))
    write_record(tmp_path / "raw", "few", signal(2000, 2), leads=["I", "II"])
    (tmp_path / "raw" / "broken.hea").write_text("broken 12 500 5000\n")
    found = cut(tmp_path / "raw", tmp_path / "cut")
    assert found["FILE_NAME"].tolist() == ["gap_0.npy", "gap_2.npy"]
    reasons = pd.read_csv(tmp_path / "cut" / "skipped.csv").set_index("path")["reason"]
    assert "NaN in 1 windows" in reasons["gap.hea"] and "9.99 s, less than 10 s" in reasons["short.hea"]
    assert "has no III" in reasons["few.hea"] and "cannot be read" in reasons["broken.hea"]
    out = capsys.readouterr().out
    assert "4 records found, 1 cut into 2 windows" in out and "4 records were left out or have gaps" in out


def test_a_second_run_keeps_what_is_there_and_nothing_else_is_overwritten(tmp_path):
    write_record(tmp_path / "raw", "r", signal())
    first = cut(tmp_path / "raw", tmp_path / "cut")
    before = (tmp_path / "cut" / "r_0.npy").stat().st_mtime_ns
    (tmp_path / "cut" / "r_1.npy").unlink()
    pd.testing.assert_frame_equal(cut(tmp_path / "raw", tmp_path / "cut"), first)
    assert (tmp_path / "cut" / "r_0.npy").stat().st_mtime_ns == before and (tmp_path / "cut" / "r_1.npy").exists()
    (tmp_path / "cut" / "r_0.npy").write_bytes(b"mine")
    with pytest.raises(ConfigError, match=r"r_0.npy is there already"):
        cut(tmp_path / "raw", tmp_path / "cut")
    assert (tmp_path / "cut" / "r_0.npy").read_bytes() == b"mine"


def test_other_lengths_and_places_of_the_index(tmp_path):
    write_record(tmp_path / "raw", "r", signal())
    run(
        [
            "windows",
            str(tmp_path / "raw"),
            str(tmp_path / "cut"),
            "--seconds",
            "4.5",
            "--index",
            str(tmp_path / "i.csv"),
        ]
    )
    assert len(pd.read_csv(tmp_path / "i.csv")) == 5
    assert np.load(tmp_path / "cut" / "r_4.npy").shape == (12, 450)


def test_pickles_name_the_core_of_numpy_as_version_1_does():
    array = signal().astype(np.float32)
    content = pickled(array)
    assert b"numpy.core.multiarray" in content and b"numpy._core" not in content
    np.testing.assert_array_equal(pickle.loads(content), array)


def test_what_cannot_be_cut_is_one_error(tmp_path):
    (tmp_path / "raw").mkdir()
    with pytest.raises(ConfigError, match=r"holds no .hea file"):
        cut(tmp_path / "raw", tmp_path / "cut")
    write_record(tmp_path / "raw", "short", signal(10))
    with pytest.raises(ConfigError, match=r"of 1 records.*short.hea has 0.1 s"):
        cut(tmp_path / "raw", tmp_path / "cut")
    with pytest.raises(UsageError, match="--seconds"):
        cut(tmp_path / "raw", tmp_path / "cut", "--seconds", "0")
