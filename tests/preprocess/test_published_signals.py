"""What ecg-preprocess writes equals the published pipeline's files within 1e-6."""

import ast
import json

import numpy as np
import pandas as pd
import pytest
import wfdb
from scipy.io import loadmat

from ecg_signals.preprocess.datasets.physionet2021 import Physionet2021Config
from ecg_signals.preprocess.pipeline import preprocess_dataset
from ecg_signals.registry import register_source

TOLERANCE = {"rtol": 1e-6, "atol": 1e-6}


@pytest.fixture(scope="module")
def reference(golden):
    folder = golden / "wcr/preprocess"
    records = {
        item["save_file"].removesuffix(".mat"): item for item in json.loads((folder / "records.json").read_text())
    }
    return folder, records, np.load(folder / "outputs.npz")


@pytest.fixture(scope="module")
def made(reference, tmp_path_factory):
    folder, _, _ = reference
    dest = tmp_path_factory.mktemp("physionet")
    cfg = Physionet2021Config(
        dtype="float64",
        keep_preprocessed=True,
        weights_path=str(folder / "weights.csv"),
        weight_abbrev_path=str(folder / "weights_abbreviations.csv"),
    )
    preprocess_dataset("physionet2021", folder / "raw", dest, cfg, workers=1)
    return dest


def test_records_have_the_reference_names_metadata_and_statistics(reference, made):
    _, records, _ = reference
    meta = pd.read_csv(made / "meta.csv")
    assert [name.removesuffix(".mat") for name in meta["save_file"]] == list(records)
    for row, item in zip(meta.to_dict("records"), records.values()):
        for name in ("dataset", "sample_rate", "sample_size", "units", "nan_any", "constant_leads_any", "diagnosis"):
            assert row[name] == item[name], name
        for name in ("avail_leads", "nan_leads", "constant_leads"):
            assert ast.literal_eval(row[name]) == item[name]
        for name in ("age", "sex"):
            expected = np.nan if item[name] is None else float(item[name])
            np.testing.assert_equal(row[name], expected)
        for kind in ("mean", "std"):
            found = [row[f"{kind}_{i}"] for i in range(12)]
            expected = np.array(item[f"org_{kind}"], dtype=float)
            np.testing.assert_allclose(found, expected, **TOLERANCE)
        segments = sorted(path.name for path in (made / "segmented").glob(row["save_file"].replace(".mat", "_*.mat")))
        assert segments == item["segments"]


def test_org_preprocessed_and_segments_equal_the_reference(reference, made):
    _, records, outputs = reference
    for name in records:
        org = loadmat(made / "org" / f"{name}.mat")["feats"]
        whole = loadmat(made / "preprocessed" / f"{name}.mat")
        np.testing.assert_allclose(org[:, :100], outputs[f"{name}/org_head"], **TOLERANCE)
        np.testing.assert_array_equal(whole["feats"].shape, outputs[f"{name}/shape"])
        np.testing.assert_allclose(whole["feats"][:, :400], outputs[f"{name}/head"], **TOLERANCE)
        np.testing.assert_allclose(whole["feats"][:, -400:], outputs[f"{name}/tail"], **TOLERANCE)
        np.testing.assert_allclose(whole["mean"][:, 0], outputs[f"{name}/mean_after_resample"], **TOLERANCE)
        np.testing.assert_allclose(whole["std"][:, 0], outputs[f"{name}/std_after_resample"], **TOLERANCE)
        last = int(outputs[f"{name}/n_segments"]) - 1
        segment = loadmat(made / "segmented" / f"{name}_{last}.mat")
        np.testing.assert_allclose(segment["feats"][:, :100], outputs[f"{name}/seg_last_head"], **TOLERANCE)
        assert segment["segment_i"].item() == last and segment["feats"].dtype == np.float64


@pytest.mark.parametrize("built_in", [True, False])
def test_labels_equal_the_reference_with_built_in_and_with_given_classes(reference, made, built_in):
    folder, records, _ = reference
    given = {
        "weights_path": str(folder / "weights.csv"),
        "weight_abbrev_path": str(folder / "weights_abbreviations.csv"),
    }
    cfg = Physionet2021Config(**({} if built_in else given))
    labels = (
        register_source.get("physionet2021")
        .cls(folder / "raw", cfg)
        .labels(pd.read_csv(made / "meta.csv"))
        .set_index("idx")
    )
    expected = [sorted(item["positive_labels"]) for item in records.values()]
    assert [sorted(labels.columns[row == 1]) for row in labels.to_numpy()] == expected
    assert labels.shape[1] == 26


def test_uncombined_labels_have_one_column_per_code(golden):
    classes = register_source.get("physionet2021").cls(golden, Physionet2021Config(uncombined=True)).classes()
    assert len(classes) == 30 and classes["PVC"] == ["427172004"] and classes["VPB"] == ["17338001"]


def test_without_standardising_segments_are_those_of_the_older_script(reference, tmp_path):
    folder, _, _ = reference
    older = np.load(folder / "legacy_physionet.npz")
    preprocess_dataset("physionet2021", folder / "raw", tmp_path, Physionet2021Config(standardise=False), workers=1)
    labels, meta = np.load(tmp_path / "labels/y.npy"), pd.read_csv(tmp_path / "meta.csv")
    names = sorted({key.rpartition("/")[0] for key in older.files})
    assert len(names) == 4
    for name in names:
        dataset, piece = name.split("/")
        found = next((tmp_path / "segmented").glob(f"physionet2021_{dataset}_*_{piece}.mat"))
        segment = loadmat(found)
        leads = [line.split()[-1] for line in next(folder.rglob(f"{piece[:-2]}.hea")).read_text().splitlines()[1:13]]
        in_file_order = segment["feats"][[list(meta_leads(meta)).index(lead) for lead in leads]]
        np.testing.assert_allclose(in_file_order[:, :100], older[f"{name}/feats_head"], **TOLERANCE)
        assert segment["feats"].shape == tuple(older[f"{name}/shape"])
        np.testing.assert_array_equal(labels[segment["idx"].item()], older[f"{name}/label"])


def meta_leads(meta):
    return ast.literal_eval(meta["lead_order"].iloc[0])


@pytest.mark.parametrize("layout", ["org", "hdf5"])
def test_code15_segments_equal_the_published_files_bit_for_bit(data, tmp_path, layout):
    folder = data / "code15"
    source = folder if layout == "org" else write_code15_parts(folder, tmp_path / "raw")
    cfg = register_source.get("code15").dataclass(dtype="float64")
    preprocess_dataset("code15", source, tmp_path / "dest", cfg, workers=1)
    published = sorted((folder / "segmented").glob("*.mat"))
    assert [path.name for path in published] == sorted(p.name for p in (tmp_path / "dest/segmented").iterdir())
    for path in published:
        expected, found = loadmat(path), loadmat(tmp_path / "dest/segmented" / path.name)
        np.testing.assert_array_equal(found["feats"], expected["feats"])
        for name in ("mean", "std", "segment_i", "curr_sample_rate", "org_sample_rate", "org_sample_size"):
            np.testing.assert_array_equal(found[name], expected[name])
    labels = pd.read_csv(tmp_path / "dest/labels/labels.csv")
    meta = pd.read_csv(tmp_path / "dest/meta.csv")
    theirs = pd.read_csv(folder / "meta.csv").set_index("exam_id").loc[meta["exam_id"]]
    assert list(labels.columns[1:]) == ["is_male", "1dAVb", "RBBB", "LBBB", "SB", "ST", "AF", "normal_ecg"]
    np.testing.assert_array_equal(labels["RBBB"], theirs["RBBB"].astype(int))
    np.testing.assert_array_equal(meta["sex"], 1 - theirs["is_male"].astype(int))
    number = loadmat(tmp_path / "dest/segmented" / published[0].name)["patient_id"].item()
    assert number in set(theirs["patient_id"])


def write_code15_parts(folder, raw):
    """Two HDF5 parts with zero-padded tracings and a dummy last row, as the publisher ships them."""
    import h5py

    raw.mkdir()
    meta = pd.read_csv(folder / "meta.csv", index_col=0)
    exams = meta.loc[:, "exam_id":"trace_file"].drop(columns="trace_file")
    exams["trace_file"] = [f"exams_part{i % 2}.hdf5" for i in range(len(exams))]
    exams.to_csv(raw / "exams.csv", index=False)
    for name, part in exams.groupby("trace_file"):
        tracings = np.zeros((len(part) + 1, 4096, 12), np.float32)
        for row, exam in enumerate(part["exam_id"]):
            feats = loadmat(folder / "org" / f"code_15_{exam}.mat")["feats"]
            start = (4096 - feats.shape[1]) // 2
            tracings[row, start : start + feats.shape[1]] = feats.T
        with h5py.File(raw / name, "w") as file:
            file["exam_id"] = np.append(part["exam_id"].to_numpy(), 0)
            file["tracings"] = tracings
    return raw


def test_double_precision_begins_at_the_stored_counts(reference, tmp_path):
    folder, records, _ = reference
    cfg = Physionet2021Config(dtype="float64", keep_preprocessed=True)
    preprocess_dataset("physionet2021", folder / "raw", tmp_path, cfg, workers=1)
    name = next(name for name, item in records.items() if item["sample_rate"] == 500)
    header = next((folder / "raw").rglob(f"{name.rpartition('_')[2]}.hea"))
    counts, info = wfdb.rdsamp(str(header.with_suffix("")))
    order = [info["sig_name"].index(lead) for lead in meta_leads(pd.read_csv(tmp_path / "meta.csv"))]
    expected = counts.T[order]
    spread = expected.std(axis=1, keepdims=True)
    expected = (expected - expected.mean(axis=1, keepdims=True)) / np.where(spread == 0, 1, spread)
    found = loadmat(tmp_path / "preprocessed" / f"{name}.mat")["feats"]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
