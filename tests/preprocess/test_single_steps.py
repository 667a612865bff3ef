"""split, labels, manifest, pairs, subset: equal to the reference, seeded, clear about wrong input."""

import numpy as np
import pandas as pd
import pytest

from ecg_signals.config import ConfigError, UsageError
from ecg_signals.preprocess.identification import identification_step
from ecg_signals.preprocess.labels import labels_step
from ecg_signals.preprocess.manifests import manifest_step, pair_segments, pairs_step, subset_step
from ecg_signals.preprocess.splits import SplitRules, split_records, split_segments


def test_label_files_equal_the_reference_but_for_infinite_weights(golden, tmp_path):
    folder = golden / "wcr/preprocess/clf_labels"
    saved = (tmp_path / "meta_split_labeled.csv", tmp_path / "segmented_split_labeled.csv")
    inputs = (folder / "in_labels.csv", [folder / "in_meta_split.csv"], [folder / "in_segmented_split.csv"])
    labels_step(tmp_path, *inputs, *saved)
    for name in ("label_def.csv", "meta_split_labeled.csv", "segmented_split_labeled.csv"):
        assert (tmp_path / name).read_text() == (folder / name).read_text(), name
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), np.load(folder / "y.npy"))
    expected = (folder / "pos_weight.txt").read_text()
    assert (tmp_path / "pos_weight.txt").read_text() == expected.replace("inf", "1.0")
    labels_step(tmp_path, *inputs, undefined=float("inf"))
    assert (tmp_path / "pos_weight.txt").read_text() == expected


def test_manifests_and_pairs_equal_the_reference_byte_for_byte(golden, tmp_path):
    folder = golden / "wcr/preprocess"
    manifest_step([folder / "clf_labels/in_segmented_split.csv"], tmp_path)
    pairs_step(tmp_path, tmp_path)
    for split in ("train", "valid", "test"):
        for name in (f"{split}.tsv", f"cmsc/{split}.tsv"):
            assert (tmp_path / name).read_bytes() == (folder / "manifests" / name).read_bytes(), name


def write_labels(tmp_path, text):
    (tmp_path / "labels.csv").write_text(text)
    (tmp_path / "split.csv").write_text("idx,save_file,split\n0,a.mat,train\n1,b.mat,train\n2,c.mat,valid\n")
    return tmp_path / "out", tmp_path / "labels.csv", [tmp_path / "split.csv"]


def test_an_unknown_label_stays_nan_and_its_record_counts_only_on_request(tmp_path, capsys):
    arguments = write_labels(tmp_path, "idx,A,B\n0,1,\n1,0,1\n2,1,0\n")
    labels_step(*arguments)
    matrix = np.load(tmp_path / "out/y.npy")
    np.testing.assert_array_equal(matrix, [[1, np.nan], [0, 1], [1, 0]])
    definition = pd.read_csv(tmp_path / "out/label_def.csv", index_col="name")
    assert definition.loc["A", "pos_count_train"] == 0
    assert "weight 1.0 in pos_weight.txt): A" in capsys.readouterr().out
    labels_step(*arguments, partial=True)
    definition = pd.read_csv(tmp_path / "out/label_def.csv", index_col="name")
    assert definition.loc["A", "pos_count_train"] == 1 and definition.loc["A", "pos_weight_train"] == 1.0
    assert definition.loc["B", "pos_percent_train"] == 1.0


def test_a_label_that_is_no_0_or_1_is_named(tmp_path):
    with pytest.raises(ConfigError, match="label 'B' holds 'maybe'; expected 0, 1"):
        labels_step(*write_labels(tmp_path, "idx,A,B\n0,1,0\n1,0,maybe\n"))
    with pytest.raises(ConfigError, match="idx 1 twice"):
        labels_step(*write_labels(tmp_path, "idx,A\n1,0\n1,1\n"))


@pytest.fixture
def meta():
    rng = np.random.default_rng(3)
    patients = rng.integers(0, 40, 200)
    dates = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 1000, 200), unit="D")
    return pd.DataFrame(
        {
            "idx": np.arange(200),
            "save_file": [f"r{i}.mat" for i in range(200)],
            "dataset": np.where(np.arange(200) % 2, "a", "b"),
            "patient_id": patients.astype(float),
            "date": dates.astype(str),
            "nan_any": rng.random(200) < 0.1,
        }
    )


def test_a_random_split_has_rounded_shares_and_depends_on_the_seed_alone(meta):
    first = split_records(meta, SplitRules(fractions=(0.5, 0.25, 0.25), seed=1))
    assert first["split"].value_counts().to_dict() == {"train": 100, "valid": 50, "test": 50}
    pd.testing.assert_frame_equal(first, split_records(meta, SplitRules(fractions=(0.5, 0.25, 0.25), seed=1)))
    assert not first.equals(split_records(meta, SplitRules(fractions=(0.5, 0.25, 0.25), seed=2)))
    assert list(first.columns) == ["idx", "save_file", "split"]


def test_shares_above_one_are_scaled_and_a_rest_goes_to_the_next_label_or_nowhere(meta):
    scaled = split_records(meta, SplitRules(fractions=(8, 1, 1)))
    assert scaled["split"].value_counts().to_dict() == {"train": 160, "valid": 20, "test": 20}
    rest = split_records(meta, SplitRules(fractions=(0.5, 0.2)))
    assert rest["split"].value_counts().to_dict() == {"train": 100, "valid": 40, "test": 60}
    left_out = split_records(meta, SplitRules(fractions=(0.5, 0.2), labels=("train", "valid")))
    assert left_out["split"].value_counts().to_dict() == {"train": 100, "valid": 40}


def test_a_patient_is_in_one_split_of_a_grouped_strategy(meta):
    meta.loc[0, "patient_id"] = np.nan
    table = split_records(meta, SplitRules("grouped", group_col="patient_id", keep_cols=["dataset"]))
    assert table.groupby("patient_id")["split"].nunique().max() == 1
    assert set(table["split"]) == {"train", "valid", "test"} and 0 not in set(table["idx"])
    assert list(table.columns) == ["idx", "save_file", "split", "patient_id", "dataset"]


def test_a_temporal_split_puts_the_oldest_records_into_train(meta):
    table = split_records(meta, SplitRules("temporal", date_col="date"))
    assert table.loc[table["split"] == "train", "date"].max() <= table.loc[table["split"] == "valid", "date"].min()
    assert table.loc[table["split"] == "valid", "date"].max() <= table.loc[table["split"] == "test", "date"].min()


def test_grouped_temporal_filters_drop_what_they_say(meta):
    rules = {"group_col": "patient_id", "date_col": "date", "fractions": (0.6, 0.2, 0.2)}
    tables = {
        name: split_records(meta, SplitRules("grouped_temporal", grouped_temporal_filter=name, **rules))
        for name in ("False", "True", "train")
    }
    assert len(tables["False"]) == 200
    assert (tables["True"]["split"] == tables["True"]["patient_id_split"]).all()
    train = tables["train"]
    assert ((train["split"] == "train") == (train["patient_id_split"] == "train")).all()
    assert len(tables["True"]) <= len(train) < 200


def test_filters_and_subsets_leave_records_out(meta):
    table = split_records(meta, SplitRules(filter_cols=["nan_any"], dataset_subset=["a"]))
    kept = meta[~meta["nan_any"] & (meta["dataset"] == "a")]
    assert set(table["idx"]) == set(kept["idx"])
    files = ["r1.mat", "r3.mat"]
    segments = pd.DataFrame({"path": ["x/r1_0.mat", np.nan], "save_file": files, "sample_size": [2500, np.nan]})
    joined = split_segments(segments, table)
    assert list(joined.columns) == ["idx", "save_file", "split", "path", "sample_size"]
    assert joined["idx"].dtype == int and list(joined["idx"]) == ([1] if 1 in set(table["idx"]) else [])


def test_wrong_split_arguments_name_what_to_type(meta):
    with pytest.raises(UsageError, match="did you mean 'grouped'"):
        SplitRules("gruoped")
    with pytest.raises(UsageError, match="--group_col"):
        SplitRules("grouped")
    with pytest.raises(UsageError, match="unknown dataset 'c'"):
        split_records(meta, SplitRules(dataset_subset=["c"]))
    with pytest.raises(ConfigError, match="did you mean 'patient_id'"):
        split_records(meta, SplitRules("grouped", group_col="pacient_id"))


def test_only_neighbours_in_time_are_paired_unless_gaps_are_allowed():
    assert pair_segments(range(5)) == [(0, 1), (2, 3)]
    assert pair_segments([3, 0, 2]) == [(2, 3)]
    assert pair_segments([3, 0, 2], allow_gaps=True) == [(0, 2)]
    assert pair_segments([10, 9]) == [(9, 10)]
    assert pair_segments([7]) == []


def test_a_manifest_of_two_datasets_has_their_common_folder_as_root(tmp_path):
    for name in ("one", "two"):
        rows = f"idx,save_file,split,path,sample_size\n0,x.mat,train,/data/{name}/segmented/x_0.mat,2500\n"
        (tmp_path / f"{name}.csv").write_text(rows)
    manifest_step([tmp_path / "one.csv", tmp_path / "two.csv"], tmp_path)
    lines = ["\t/data/", "one/segmented/x_0.mat\t2500", "two/segmented/x_0.mat\t2500", ""]
    assert (tmp_path / "train.tsv").read_text() == "\n".join(lines)
    with pytest.raises(ConfigError, match="listed twice"):
        manifest_step([tmp_path / "one.csv", tmp_path / "one.csv"], tmp_path)


def test_relative_paths_without_a_common_folder_keep_their_folders(tmp_path):
    (tmp_path / "a.csv").write_text("path,sample_size,split\none/x_0.mat,10,train\ntwo/x_0.mat,10,train\n")
    manifest_step([tmp_path / "a.csv"], tmp_path)
    assert (tmp_path / "train.tsv").read_text().splitlines()[0].strip() == "./"
    assert "one/x_0.mat\t10" in (tmp_path / "train.tsv").read_text()


def test_pairs_of_unnumbered_files_are_an_error(tmp_path):
    (tmp_path / "train.tsv").write_text("/data\nrecord.mat\t2500\n")
    with pytest.raises(ConfigError, match=r"<record>_<number>\.mat"):
        pairs_step(tmp_path, tmp_path)


@pytest.mark.parametrize("kind", ["plain", "cmsc"])
def test_a_subset_keeps_whole_records_and_copies_the_other_manifests(tmp_path, kind):
    folder = tmp_path / "manifest"
    folder.mkdir()
    rows = [f"r{i}_{k}.mat\t2500\n" for i in range(20) for k in range(3)]
    if kind == "cmsc":
        rows = [f"r{i}\t2500\t0\t{k}\n" for i in range(20) for k in ("0,1", "2,3", "4,5")]
    header = "/data\n" if kind == "plain" else "/data\nmat\n"
    for split in ("train", "valid"):
        (folder / f"{split}.tsv").write_text(header + "".join(rows))
    subset_step(folder, 0.25, seed=4)
    subset_step(folder, 0.25, tmp_path / "again", seed=4)
    kept = (folder / "0.25" / "train.tsv").read_text()
    assert kept == (tmp_path / "again" / "train.tsv").read_text() and kept.startswith(header)
    assert len(kept.splitlines()) == header.count("\n") + 5 * 3
    assert (folder / "0.25" / "valid.tsv").read_text() == (folder / "valid.tsv").read_text()
    with pytest.raises(ConfigError, match="exists already"):
        subset_step(folder, 0.25)
    with pytest.raises(ConfigError, match="keeps a tenth"):
        subset_step(folder, 25)


@pytest.mark.parametrize("within_records", [False, True])
def test_identification_manifests_give_each_person_a_class_and_a_probe(tmp_path, within_records):
    from ecg_signals.data.manifest import Manifest

    records = {
        "a": ("P1", "train"),
        "b": ("P1", "train"),
        "c": ("P2", "train"),
        "d": ("P3", "valid"),
        "e": ("P3", "valid"),
    }
    records |= {"f": ("P4", "valid"), "g": ("P4", "valid"), "h": ("P5", "valid")}
    lines = ["idx,save_file,split,path,sample_size,patient_id"]
    for idx, (name, (person, split)) in enumerate(records.items()):
        lines += [f"{idx},{name}.mat,{split},{tmp_path}/{name}_{i}.mat,2500,{person}" for i in range(2)]
    (tmp_path / "split.csv").write_text("\n".join(lines) + "\n")
    identification_step([tmp_path / "split.csv"], "patient_id", tmp_path, within_records)
    rows = {
        name: [line.split("\t") for line in (tmp_path / f"{name}.tsv").read_text().splitlines()[1:]]
        for name in ("train", "valid_gallery", "valid_probe")
    }
    train = [("a_0", 0), ("a_1", 0), ("b_0", 0), ("b_1", 0)] + ([("c_0", 1), ("c_1", 1)] if within_records else [])
    gallery, probe = ["d_0", "f_0"], ["e_0", "g_0"]
    if within_records:
        gallery, probe = ["d_0", "f_0", "h_0"], ["d_1", "f_1", "h_1"]
    assert rows["train"] == [[f"{name}.mat", "2500", str(number)] for name, number in train]
    for name, files in (("valid_gallery", gallery), ("valid_probe", probe)):
        assert rows[name] == [[f"{file}.mat", "2500", str(number)] for number, file in enumerate(files)]
    assert Manifest(tmp_path / "train.tsv", "identification").label(0) == 0
    (tmp_path / "alone.csv").write_text("\n".join([lines[0], lines[-2]]) + "\n")
    with pytest.raises(ConfigError, match="nobody in"):
        identification_step([tmp_path / "alone.csv"], "patient_id", tmp_path, within_records)
