"""ecg-preprocess hubert: whole records and a CSV of labels per split; PTB-XL as it is downloaded."""

import gzip
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ecg_signals.config import ConfigError, UsageError
from ecg_signals.data.datasets.hubert_csv import HubertCsvConfig, HubertCsvDataset
from ecg_signals.interop.hubert_ecg.contract import hubert_ecg
from ecg_signals.preprocess.datasets.ptbxl import ARCHIVE
from ecg_signals.preprocess.hubert_records import preprocess_for_hubert
from ecg_signals.preprocess.options import parse_options
from ecg_signals.readers.read import read_record
from ecg_signals.registry import register_source
from ecg_signals.signal.hubert_ecg import hubert_preprocess

SAMPLE = Path(__file__).parents[2] / "examples" / "sample"


def run(name, source, dest, *settings):
    return preprocess_for_hubert(name, source, dest, parse_options(settings, register_source.get(name).dataclass), 1)


@pytest.fixture(scope="module")
def some(tmp_path_factory):
    """Eight records of the sample, in PTB-XL's layout: 5 train, 1 valid, 2 test."""
    folder = tmp_path_factory.mktemp("ptbxl")
    table = pd.read_csv(SAMPLE / "ptbxl_database.csv")
    table = pd.concat(
        [table[table["strat_fold"] < 9][:5], table[table["strat_fold"] == 9][:1], table[table["strat_fold"] == 10][:2]]
    )
    for name in table["filename_hr"]:
        for suffix in (".hea", ".dat"):
            target = folder / f"{name}{suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(SAMPLE / f"{name}{suffix}", target)
    table.to_csv(folder / "ptbxl_database.csv", index=False)
    shutil.copyfile(SAMPLE / "scp_statements.csv", folder / "scp_statements.csv")
    return folder


@pytest.fixture(scope="module")
def made(some, tmp_path_factory):
    dest = tmp_path_factory.mktemp("hubert")
    return dest, run("ptbxl", some, dest)


def test_the_dataset_reads_every_split_with_its_labels(made):
    dest, report = made
    for split, count in (("train", 5), ("valid", 1), ("test", 2)):
        cfg = HubertCsvConfig(ecg_dir=str(dest / "processed"), label_start_index=report.start)
        dataset = HubertCsvDataset(cfg, dest / "manifest" / f"{split}.csv")
        assert len(dataset) == count and dataset.num_labels == 71
        assert dataset[0]["source"].shape == (12, 500) and dataset[0]["label"].sum() >= 1
    assert "label_start_index=4 model.num_labels=71" in report.text()


def test_names_columns_and_labels_are_those_of_the_published_splits(made, golden):
    dest, _ = made
    folder = golden / "hubert_ecg" / "data" / "ptbxl_splits"
    for split, theirs in (("train", "train"), ("valid", "val"), ("test", "test")):
        with gzip.open(folder / f"ptbxl_all_{theirs}.csv.gz", "rt") as file:
            wanted = pd.read_csv(file).set_index("filename")
        found = pd.read_csv(dest / "manifest" / f"{split}.csv").set_index("filename")
        assert list(found.columns[:3]) == list(wanted.columns[:3]) and set(found.columns) == set(wanted.columns)
        pd.testing.assert_frame_equal(found, wanted.loc[found.index, found.columns], check_dtype=False)


def test_a_file_holds_the_published_preprocessing_and_the_item_is_what_prepare_gives(made):
    dest, report = made
    row = pd.read_csv(dest / "manifest" / "test.csv").iloc[0]
    number = row["filename"].removeprefix("HR").removesuffix(".hea.npy")
    record = read_record(SAMPLE / "records500" / "00000" / f"{number}_hr")
    stored = np.load(dest / "processed" / row["filename"])
    assert stored.dtype == np.float32 and stored.shape == (12, 5000)
    np.testing.assert_allclose(stored, hubert_preprocess(record.signal, 500), atol=1e-6)
    cfg = HubertCsvConfig(ecg_dir=str(dest / "processed"), label_start_index=report.start, decimation="flat")
    item = HubertCsvDataset(cfg, dest / "manifest" / "test.csv")[0]["source"]
    np.testing.assert_allclose(item, hubert_ecg().prepare(record)[0], atol=1e-5)


def test_a_second_run_does_only_what_is_missing_or_changed(some, made, tmp_path):
    dest = tmp_path / "dest"
    shutil.copytree(made[0], dest)
    first, second, *others = sorted((dest / "processed").iterdir())
    stamps = {path: path.stat().st_mtime_ns for path in others}
    content = first.read_bytes()
    first.unlink()
    run("ptbxl", some, dest)
    assert first.read_bytes() == content and all(path.stat().st_mtime_ns == stamps[path] for path in others)
    before = second.stat().st_size
    run("ptbxl", some, dest, "dtype=float64")
    assert second.stat().st_size > 1.9 * before


@pytest.mark.parametrize("setting", ["sample_rate=250", "leads=I,II", "standardise=false", "segment_seconds=10"])
def test_options_that_would_have_no_effect_are_refused(some, tmp_path, setting):
    with pytest.raises(UsageError, match=f"{setting.partition('=')[0]}.* has no place here"):
        run("ptbxl", some, tmp_path / "dest", setting)


def test_a_missing_limb_lead_is_derived_and_a_missing_chest_lead_leaves_the_record_out(tmp_path):
    record = read_record(SAMPLE / "records500" / "00000" / "00017_hr")
    for name, missing in (("limb", "aVF"), ("chest", "V3")):
        rows = [index for index, lead in enumerate(record.leads) if lead != missing]
        folder = tmp_path / name
        folder.mkdir()
        np.savetxt(
            folder / "a.csv", record.signal[rows].T, delimiter=",", comments="",
            header=",".join(record.leads[row] for row in rows), fmt="%.4f",
        )  # fmt: skip
        if name == "chest":
            with pytest.raises(ConfigError, match="every record is left out"):
                run("csv", folder, tmp_path / "dest_chest", "source_rate=500", "fractions=1,0,0")
            assert "V3" in (tmp_path / "dest_chest" / "skipped.csv").read_text()
        else:
            run("csv", folder, tmp_path / "dest_limb", "source_rate=500", "fractions=1,0,0")
            stored = np.load(tmp_path / "dest_limb" / "processed" / "a.csv.npy")
            np.testing.assert_allclose(stored, hubert_preprocess(record.signal, 500), atol=0.02)


def test_files_of_one_name_in_two_folders_stay_apart(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "raw" / name).mkdir(parents=True)
        np.save(tmp_path / "raw" / name / "1.npy", np.random.default_rng(ord(name)).normal(size=(12, 2500)))
    run("npy", tmp_path / "raw", tmp_path / "dest", "source_rate=500")
    assert (tmp_path / "dest/processed/a/1.npy").is_file() and (tmp_path / "dest/processed/b/1.npy").is_file()


# ------------------------------------------------------------------------------------------- PTB-XL as downloaded


def zipped(folder, target):
    with zipfile.ZipFile(target, "w") as file:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                file.write(path, Path(target.stem) / path.relative_to(folder))
    return target


def test_a_downloaded_zip_is_unpacked_once_and_read(some, tmp_path):
    (tmp_path / "ptbxl").mkdir()
    zipped(some, tmp_path / "ptbxl" / ARCHIVE)
    report = run("ptbxl", tmp_path / "ptbxl", tmp_path / "ptbxl")
    assert report.kept == 8
    headers = sorted((tmp_path / "ptbxl").rglob("*.hea"))
    stamps = [path.stat().st_mtime_ns for path in headers]
    headers[0].write_bytes(headers[0].read_bytes()[:3])
    run("ptbxl", tmp_path / "ptbxl" / ARCHIVE, tmp_path / "ptbxl")
    assert headers[0].stat().st_size > 3 and [path.stat().st_mtime_ns for path in headers[1:]] == stamps[1:]


def test_an_unpacked_folder_is_found_below_the_place_it_lies_in(some, tmp_path):
    shutil.copytree(some, tmp_path / "physionet.org" / "files" / "ptb-xl" / "1.0.3")
    assert run("ptbxl", tmp_path, tmp_path / "out").kept == 8


@pytest.mark.parametrize("exists", [True, False])
def test_without_ptbxl_the_message_says_what_to_download_and_where_to_put_it(tmp_path, exists):
    place = tmp_path / "ptbxl"
    if exists:
        place.mkdir()
    with pytest.raises(ConfigError) as error:
        run("ptbxl", place, tmp_path / "out")
    for text in ("https://physionet.org/content/ptb-xl/1.0.3/", ARCHIVE, f"into {place}"):
        assert text in str(error.value)


def test_a_truncated_zip_is_one_clear_error(some, tmp_path):
    archive = zipped(some, tmp_path / ARCHIVE)
    archive.write_bytes(archive.read_bytes()[:-2000])
    with pytest.raises(ConfigError, match=r"truncated or no zip file .* download it again"):
        run("ptbxl", archive, tmp_path / "out")


def test_a_zip_whose_paths_lead_out_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / ARCHIVE, "w") as file:
        file.writestr("../ptbxl_database.csv", "x")
    with pytest.raises(ConfigError, match="does not lie below"):
        run("ptbxl", tmp_path / ARCHIVE, tmp_path / "out")
