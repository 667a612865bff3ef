"""raw/ -> tables to type labels into -> settings of ecg-train, with one clear message for whatever is missing."""

import shutil
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import vendor_files

from ecg_signals import read_record
from ecg_signals.config import ConfigError, UsageError
from ecg_signals.preprocess.options import parse_options
from ecg_signals.preprocess.training_folder import FolderConfig, make_target, prepare_folder
from ecg_signals.preprocess.training_settings import training_settings
from ecg_signals.signal.hubert_ecg import hubert_preprocess


def signal(name, samples=2500):
    rng = np.random.default_rng(zlib.crc32(str(name).encode()))
    return rng.normal(size=(12, samples)).astype(np.float32)


def add(folder, *names, samples=2500):
    for name in names:
        path = folder / "raw" / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, signal(name, samples))


def prepare(folder, *settings):
    return prepare_folder(folder, parse_options(["source_rate=500", *settings], FolderConfig), 1)


def tables(folder):
    return [pd.read_csv(folder / "metadata" / f"{name}_dataset.csv") for name in ("train", "val")]


def fill(folder, **columns):
    """Type labels: each column a function of the row's number; rows of both tables."""
    for name in ("train", "val"):
        path = folder / "metadata" / f"{name}_dataset.csv"
        table = pd.read_csv(path)
        for column, value in columns.items():
            table[column] = [value(row) for row in range(len(table))]
        table.to_csv(path, index=False)


def filled(folder):
    fill(folder, normal=lambda row: row % 2, abnormal=lambda row: 1 - row % 2, arrhythmia=lambda row: int(row % 3 == 0))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training_data")
    add(folder, *range(20))
    report = prepare(folder)
    return folder, report


@pytest.fixture
def ready(prepared, tmp_path):
    folder = tmp_path / "training_data"
    shutil.copytree(prepared[0], folder)
    filled(folder)
    return folder


def settings(folder, run="run", model=None):
    return training_settings(folder, folder / "checkpoints" / run, model)


def test_files_become_processed_records_and_tables_with_empty_labels(prepared):
    folder, report = prepared
    train, valid = tables(folder)
    assert (len(train), len(valid)) == (16, 4)
    assert list(train.columns) == [
        "filename", "original_path", "shape", "duration_seconds", "normal", "abnormal", "arrhythmia",
    ]  # fmt: skip
    assert train[["normal", "abnormal", "arrhythmia"]].isna().all(axis=None)
    row = train.iloc[0]
    assert row["original_path"] == f"raw/{row['filename']}" and row["shape"] == "(12, 2500)"
    stored = np.load(folder / "processed" / row["filename"])
    assert stored.shape == (12, 2500) and stored.min() > -1.001 and stored.max() < 1.001
    assert "20 records have none yet" in report.text() and "make train" in report.text()
    assert set(pd.read_csv(folder / "metadata" / "training_dataset.csv")["split"]) == {"train", "valid"}


def test_typed_labels_and_moved_rows_stay_when_files_are_added(ready):
    before = pd.concat(tables(ready)).set_index("filename")
    train, valid = tables(ready)
    moved = train.iloc[[0]]
    train.iloc[1:].to_csv(ready / "metadata" / "train_dataset.csv", index=False)
    pd.concat([valid, moved]).to_csv(ready / "metadata" / "val_dataset.csv", index=False)
    add(ready, *range(20, 30))
    report = prepare(ready)
    train, valid = tables(ready)
    after = pd.concat([train, valid]).set_index("filename")
    assert len(after) == 30 and report.empty == 10 and moved["filename"].item() in set(valid["filename"])
    labels = ["normal", "abnormal", "arrhythmia"]
    pd.testing.assert_frame_equal(after.loc[before.index, labels], before[labels], check_dtype=False)
    assert "1.0" not in (ready / "metadata" / "val_dataset.csv").read_text().replace("10.0", "").replace("5.0", "")


def test_a_second_run_leaves_files_and_tables_alone(ready):
    stamps = {path: path.stat().st_mtime_ns for path in ready.rglob("*.*") if path.suffix in (".npy", ".csv")}
    prepare(ready)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items() if path.name != "skipped.csv")
    one = ready / "raw" / "3.npy"
    np.save(one, signal("other", 5000))
    prepare(ready)
    assert np.load(ready / "processed" / "3.npy").shape == (12, 5000)


def test_a_table_in_raw_gives_labels_patients_rates_and_splits(tmp_path):
    add(tmp_path, *"abcdef")
    add(tmp_path, "slow", samples=1250)
    rows = "".join(f"{name},p{number // 2},500,{number % 2},\n" for number, name in enumerate("abcdef"))
    (tmp_path / "raw" / "about.csv").write_text(
        "filename,patient_id,sample_rate,afib,split\n" + rows + "slow,q,250,1,test\n"
    )
    prepare(tmp_path)
    train, valid = tables(tmp_path)
    test = pd.read_csv(tmp_path / "metadata" / "test_dataset.csv")
    assert list(train.columns[4:]) == ["patient_id", "afib"] and len(train) + len(valid) == 6
    assert not set(train["patient_id"]) & set(valid["patient_id"]) and len(valid) == 2
    assert test["filename"].tolist() == ["slow.npy"] and test["duration_seconds"].item() == 5.0
    found = settings(tmp_path)
    assert "dataset.label_start_index=5" in found.words and "model.num_labels=1" in found.words


def test_labels_that_a_table_in_raw_lacks_get_an_empty_column(tmp_path):
    add(tmp_path, *"abc")
    (tmp_path / "raw" / "about.csv").write_text("filename,afib,other\na,1,1\nb,0,1\nc,1,0\n")
    prepare(tmp_path, "labels=norm")
    assert list(tables(tmp_path)[0].columns[4:]) == ["norm"]
    prepare(tmp_path, "labels=norm,afib")
    table = pd.concat(tables(tmp_path)).set_index("filename")
    assert list(table.columns[3:]) == ["norm", "afib"] and table["norm"].isna().all()
    assert table["afib"].to_dict() == {"a.npy": 1, "b.npy": 0, "c.npy": 1}


def test_own_label_names_and_a_new_patient_of_a_known_one_follow(tmp_path):
    for name in ("p1/a", "p1/b", "p2/a", "p3/a"):
        add(tmp_path, name)
    prepare(tmp_path, "labels=afib,norm", "patient_from_folder=true")
    train, valid = tables(tmp_path)
    assert list(train.columns[5:]) == ["afib", "norm"] and len(valid) >= 1
    known = valid["patient_id"].iloc[0]
    add(tmp_path, f"{known}/later")
    prepare(tmp_path, "labels=afib,norm", "patient_from_folder=true")
    assert f"{known}/later.npy" in set(tables(tmp_path)[1]["filename"])


def test_a_file_that_cannot_be_used_is_told_and_the_others_are_prepared(tmp_path):
    add(tmp_path, "good", "good2")
    raw = tmp_path / "raw"
    np.save(raw / "eight.npy", np.ones((8, 2500)))
    np.save(raw / "flipped.npy", signal("flipped").T)
    np.save(raw / "short.npy", signal("short", 300))
    np.save(raw / "objects.npy", np.array([{}], dtype=object))
    np.save(raw / "gap.npy", np.where(np.arange(2500) == 7, np.nan, signal("gap")))
    (raw / "broken.npy").write_bytes(b"no array")
    text = prepare(tmp_path).text()
    for name, reason in {
        "eight.npy": "(8, 2500), but 12 leads were expected",
        "short.npy": "needs more than 453 samples (0.9 s), found 0.60 s",
        "objects.npy": "no plain .npy array",
        "broken.npy": "truncated or no plain .npy array",
        "gap.npy": "nan_any",
    }.items():
        assert any(name in line and reason in line for line in text.splitlines()), (name, text)
    assert sorted(pd.concat(tables(tmp_path))["filename"]) == ["flipped.npy", "good.npy", "good2.npy"]
    np.testing.assert_array_equal(np.load(tmp_path / "processed" / "flipped.npy").shape, (12, 2500))


def test_an_empty_folder_is_made_and_says_what_to_put_there(tmp_path):
    with pytest.raises(ConfigError, match=r"holds no file\. Copy yours there"):
        prepare(tmp_path / "data")
    (tmp_path / "data" / "raw" / "scan.pdf").write_text("x")
    with pytest.raises(ConfigError, match="no record found below"):
        prepare(tmp_path / "data")


def test_recorders_files_are_read_as_they_are_and_a_table_says_more_about_them(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    ecg = np.round(signal("ecg", 5000) / 5, 2)
    (raw / "one.scp").write_bytes(vendor_files.scp_bytes(ecg))
    (raw / "two.xml").write_text(vendor_files.muse(ecg))
    (raw / "three").write_text(vendor_files.aecg(ecg))
    add(tmp_path, "four", samples=5000)
    about = {"filename": ["one.scp", "two.xml", "three", "four"], "patient_id": [1, 1, 2, 3], "afib": [1, 1, 0, 0]}
    pd.DataFrame(about).to_csv(raw / "about.csv", index=False)
    report = prepare(tmp_path)
    assert report.kept == 4 and not report.skipped
    found = pd.concat(tables(tmp_path)).set_index("filename")["afib"].to_dict()
    assert found == {"one.scp.npy": 1, "two.xml.npy": 1, "three.npy": 0, "four.npy": 0}
    for name in ("one.scp", "two.xml", "three"):
        wanted = hubert_preprocess(read_record(raw / name).signal, 500)
        np.testing.assert_allclose(np.load(tmp_path / "processed" / f"{name}.npy"), wanted, atol=1e-5)


def test_wrong_arguments_are_named(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'source_rate'"):
        parse_options(["source_rat=1"], FolderConfig)
    add(tmp_path, "a", "b")
    with pytest.raises(UsageError, match="has no place here"):
        prepare(tmp_path, "sample_rate=100")
    with pytest.raises(UsageError, match="do not fit"):
        prepare(tmp_path, "fractions=-1,2,0")


# ---------------------------------------------------------------------------------------------------- before training


def test_training_is_refused_until_every_record_has_a_label(prepared):
    with pytest.raises(ConfigError, match=r"train_dataset\.csv: 16 of 16 records have no label yet .*Type 0 or 1"):
        settings(prepared[0])


def edited(folder, name, change):
    path = folder / "metadata" / f"{name}_dataset.csv"
    table = pd.read_csv(path)
    change(table).to_csv(path, index=False)


@pytest.mark.parametrize(
    "name, change, message",
    [
        ("train", lambda table: table.assign(normal="yes"), "column normal holds 'yes'"),
        ("train", lambda table: table.assign(normal=[2, *table["normal"][1:]]), r"column normal holds .*2.* for "),
        ("train", lambda table: table.assign(abnormal=None), "column abnormal is empty"),
        ("train", lambda table: table.drop(columns=["normal", "abnormal", "arrhythmia"]), "one named column per label"),
        ("train", lambda table: table.assign(**{"Unnamed: 7": 1}), "a column without a name"),
        ("train", lambda table: table[[*table.columns[1:], "filename"]], "then one named column per label"),
        ("train", lambda table: table.assign(normal=1, abnormal=1, arrhythmia=0), "there is nothing to learn"),
        ("train", lambda table: table.rename(columns={"filename": "file"}), "column 'filename'"),
        ("train", lambda table: table.assign(filename=["gone.npy", *table["filename"][1:]]), "lists gone.npy, which"),
        ("val", lambda table: table.rename(columns={"normal": "healthy"}), "give both the same columns"),
        ("val", lambda table: table[:0], "lists no record"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_trained_on_is_one_clear_message(ready, name, change, message):
    edited(ready, name, change)
    with pytest.raises(ConfigError, match=message) as error:
        settings(ready)
    assert f"{name}_dataset.csv" in str(error.value)


def test_tables_that_are_not_there_say_how_to_make_them(tmp_path):
    with pytest.raises(ConfigError, match="make it with: make prepare-data"):
        settings(tmp_path)


def test_what_is_worth_knowing_is_said_beside_the_settings(ready):
    assert settings(ready).remarks == []
    edited(ready, "train", lambda table: table.assign(arrhythmia=0, normal=[None, *table["normal"][1:]]))
    edited(ready, "val", lambda table: table.assign(normal=1, abnormal=0, arrhythmia=0))
    found = settings(ready, "other")
    assert [text for text in found.remarks if "arrhythmia is 0 in every record" in text]
    assert [text for text in found.remarks if "1 empty labels count as unknown" in text]
    assert "checkpoint.best_checkpoint_metric=loss" in found.words


def test_the_same_patient_on_both_sides_is_told(ready):
    for name in ("train", "val"):
        edited(
            ready, name, lambda table: table[table.columns[:4]].assign(patient_id="p7").join(table[table.columns[4:]])
        )
    assert any("1 patients are in" in text and "p7" in text for text in settings(ready).remarks)


# ---------------------------------------------------------------------------------------------------------- training


def test_a_run_does_not_go_on_with_other_labels_or_another_model(ready, golden):
    model = str(golden / "hubert_ecg" / "checkpoints" / "finetune_linear.pt")
    settings(ready, "run", model)
    (ready / "checkpoints" / "run" / "checkpoint_last.pt").touch()
    assert settings(ready, "run", model).words == settings(ready, "new", model).words
    with pytest.raises(ConfigError, match=r"started from another model\. Start a new one \(make train .*RUN=NAME\)"):
        settings(ready, "run", model.replace("linear", "mlp"))
    fill(ready, normal=lambda row: int(row % 4 == 0))
    with pytest.raises(ConfigError, match=r"started from another train_dataset\.csv and val_dataset\.csv"):
        settings(ready, "run", model)


@pytest.mark.parametrize("form", ["finetune_linear.pt", "hubert_1_iteration_9_run0.pt", "pretrain_hf"])
def test_decimation_follows_a_published_checkpoint(ready, golden, form):
    words = settings(ready, form, str(golden / "hubert_ecg" / "checkpoints" / form)).words
    assert {"dataset.decimation=flat", "dataset.downsampling_factor=5"} <= set(words)


def test_a_model_that_cannot_be_had_says_what_else_to_do(ready, golden, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match=r"download .* by hand.*make train .*MODEL=PATH.*make train-from-scratch"):
        settings(ready, "a", "nobody/no-such-model")
    with pytest.raises(ConfigError, match="prepared for HuBERT-ECG"):
        settings(ready, "b", str(golden / "wcr" / "clf" / "checkpoint.pt"))


def test_advice_names_the_folder_that_was_prepared_unless_it_is_makes_usual_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert make_target("train", Path("training_data")) == "make train"
    assert make_target("train", tmp_path / "training_data", "MODEL=PATH") == "make train MODEL=PATH"
    assert make_target("prepare-data", Path("my $ekg")) == "make prepare-data DATA='my $ekg'"
    with pytest.raises(ConfigError, match=r"make prepare-data DATA=elsewhere$"):
        training_settings(Path("elsewhere"), tmp_path / "run", None)
