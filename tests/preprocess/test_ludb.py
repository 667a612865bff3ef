"""LUDB: waves, labels and splits against fairseq-signals' preprocessing."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat

from ecg_signals.cli import preprocess
from ecg_signals.preprocess.datasets.ludb import DIAGNOSES, merged, spans_of
from ecg_signals.preprocess.options import parse_options
from ecg_signals.preprocess.pipeline import preprocess_dataset
from ecg_signals.registry import register_source


@pytest.fixture(scope="module")
def folder(golden):
    return golden / "ludb"


@pytest.fixture(scope="module")
def expected(folder):
    return dict(np.load(folder / "expected.npz"))


def run(folder, dest, *settings):
    options = parse_options(settings, register_source.get("ludb").dataclass)
    preprocess_dataset("ludb", folder / "raw", dest, options, 1)
    return dest


@pytest.mark.parametrize(
    ("mode", "settings"),
    [
        ("merged", ()),
        ("merged_resampled", ("resampling=spline",)),
        ("separate", ("separate_leads=true",)),
    ],
)
def test_files_hold_the_published_arrays(folder, expected, tmp_path, mode, settings):
    dest = run(folder, tmp_path, *settings)
    for name in sorted({key.split("/")[1] for key in expected if key.startswith(f"{mode}/")}):
        wanted = {key.split("/")[2]: value for key, value in expected.items() if key.startswith(f"{mode}/{name}/")}
        found = loadmat(dest / f"segmented/ludb_{name}_0.mat")
        np.testing.assert_array_equal(found["segment_label"][0], wanted["segment_label"])
        np.testing.assert_array_equal(found["segment_mask"][0].astype(bool), wanted["segment_mask"])
        np.testing.assert_array_equal(np.flatnonzero(found["label"][0]), wanted["label_nonzero"])
        assert found["curr_sample_rate"].item() == wanted["rate"]
        assert found["feats"].shape == tuple(wanted["feats_shape"])
        if "feats" in wanted:
            np.testing.assert_allclose(found["feats"][:3, :400], wanted["feats"], atol=1e-5)
        else:
            np.testing.assert_allclose(found["feats"][:, :5], wanted["feats_first5"], atol=1e-5)
        assert set(wanted["keys"]) <= set(found)


def test_labels_are_the_published_ones_in_their_order(folder, tmp_path):
    names = [name.removesuffix(".") for name in json.loads((folder / "labels.json").read_text())]
    assert list(DIAGNOSES) == names
    labels = pd.read_csv(run(folder, tmp_path) / "labels/labels.csv")
    assert list(labels.columns[1:]) == names


def test_leads_of_one_record_come_into_one_split_unless_published(folder, tmp_path):
    together = pd.read_csv(run(folder, tmp_path / "a", "separate_leads=true") / "segmented_split.csv")
    assert together.groupby("patient_id")["split"].nunique().max() == 1
    apart = run(folder, tmp_path / "b", "separate_leads=true", "split_leads=true") / "segmented_split.csv"
    assert set(pd.read_csv(apart)["split"]) == {"train", "valid", "test"}


def test_a_file_per_lead_says_which_lead_it_is(folder, tmp_path):
    meta = pd.read_csv(run(folder, tmp_path, "separate_leads=true", "leads=II,V5") / "meta.csv")
    assert list(meta["save_file"]) == ["ludb_1_ii.mat", "ludb_1_v5.mat", "ludb_2_ii.mat", "ludb_2_v5.mat"]
    assert list(meta["lead_order"]) == ["['II']", "['V5']"] * 2
    assert list(meta["patient_id"]) == [1, 1, 2, 2]


def test_a_wave_without_onset_begins_at_its_peak_and_one_without_offset_is_left_out():
    symbols = ["(", "p", ")", "N", ")", "(", "t", "(", "p", ")"]
    assert spans_of(list(range(10, 20)), symbols) == [("p", (10, 11, 12)), ("qrs", (13, 13, 14)), ("p", (17, 18, 19))]


def test_groups_are_counted_from_their_first_peak():
    marks = [(peak - 10, peak, peak + 10) for peak in (100, 150, 199, 201)]
    assert merged(marks, 500) == [(139, 149, 159), (191, 201, 211)]


@pytest.mark.parametrize("settings", [(), ("separate_leads=true",)])
def test_leads_without_marks_are_told(folder, tmp_path, capsys, settings):
    shutil.copytree(folder / "raw", tmp_path / "raw", copy_function=shutil.copyfile)
    (tmp_path / "raw/1.v6").unlink()
    preprocess.run(["ludb", str(tmp_path / "raw"), str(tmp_path / "out"), *settings, "--workers", "1"])
    assert "1 leads have no file of marks, their waves are not known: 1.hea V6" in capsys.readouterr().out
