"""From records to manifests: the sample, restarts, bad records, one's own files."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat

from ecg_signals.config import ConfigError, UsageError
from ecg_signals.preprocess import pipeline
from ecg_signals.preprocess.options import parse_options
from ecg_signals.preprocess.pipeline import preprocess_dataset
from ecg_signals.registry import register_source
from ecg_signals.signal.leads import LEADS

SAMPLE = Path(__file__).parents[2] / "examples" / "sample"


def run(name, source, dest, *settings, processes=1):
    return preprocess_dataset(
        name, source, dest, parse_options(settings, register_source.get(name).dataclass), processes
    )


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    dest = tmp_path_factory.mktemp("sample")
    run("ptbxl", SAMPLE, dest)
    return dest


def stamps(dest):
    return {path.name: path.stat().st_mtime_ns for path in sorted((dest / "segmented").iterdir())}


def write_wfdb(folder, name, counts, leads=LEADS, rate=500, comments=("Age: 60", "Sex: F"), checksum=True):
    """A record of int16 counts [leads, samples], 1000 per mV."""
    folder.mkdir(parents=True, exist_ok=True)
    sums = (counts.sum(axis=1, dtype=np.int64) if checksum else np.full(len(leads), 7)) % 65536
    lines = [f"{name} {len(leads)} {rate} {counts.shape[1]}"]
    lines += [f"{name}.dat 16 1000/mV 16 0 {row[0]} {total} 0 {lead}" for row, total, lead in zip(counts, sums, leads)]
    (folder / f"{name}.hea").write_text("\n".join([*lines, *(f"# {line}" for line in comments)]) + "\n")
    counts.T.astype("<i2").tofile(folder / f"{name}.dat")


def noise(samples=5000, leads=12, seed=0):
    return np.random.default_rng(seed).integers(-900, 900, (leads, samples)).astype(np.int64)


def test_the_sample_gives_every_file_of_the_layout(sample):
    meta = pd.read_csv(sample / "meta.csv")
    assert {"idx", "save_file", "patient_id", "age", "sex", "report", "nan_any", "mean_11", "std_0"} <= set(
        meta.columns
    )
    assert meta["report"].notna().all() and list(meta["idx"]) == list(range(92))
    assert list(meta["path"]) == sorted(meta["path"])
    split = pd.read_csv(sample / "meta_split.csv")
    assert split["split"].value_counts().to_dict() == {"train": 56, "valid": 18, "test": 18}
    segments = pd.read_csv(sample / "segmented_split.csv")
    assert list(segments.columns[:5]) == ["idx", "save_file", "split", "path", "sample_size"] and len(segments) == 184
    lines = (sample / "manifest/train.tsv").read_text().splitlines()
    assert lines[0].strip() == f"{sample.resolve()}/segmented/" and len(lines) == 1 + 112
    pairs = (sample / "manifest/cmsc/train.tsv").read_text().splitlines()
    assert pairs[1] == "mat" and len(pairs) == 2 + 56 and all(line.endswith("\t2500\t0\t0,1") for line in pairs[2:])


def test_a_segment_file_holds_what_datasets_read(sample):
    record = loadmat(sample / "segmented/ptbxl_00002_hr_1.mat")
    assert record["feats"].shape == (12, 2500) and record["feats"].dtype == np.float32
    values = {name: record[name].item() for name in ("idx", "segment_i", "curr_sample_rate", "patient_id")}
    assert values == {"idx": 0, "segment_i": 1, "curr_sample_rate": 500, "patient_id": 13243}
    first = loadmat(sample / "segmented/ptbxl_00002_hr_0.mat")["feats"]
    whole = np.concatenate([first, record["feats"]], axis=1).astype(np.float64)
    np.testing.assert_allclose(whole.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(whole.std(axis=1), 1, atol=1e-6)
    org = loadmat(sample / "org/ptbxl_00002_hr.mat")
    np.testing.assert_allclose((org["feats"] - record["mean"]) / record["std"], whole, atol=1e-5)


def test_all_71_labels_are_sorted_and_follow_the_statements(sample):
    definition = pd.read_csv(sample / "labels/label_def.csv")
    assert len(definition) == 71 and list(definition["name"]) == sorted(definition["name"])
    matrix = np.load(sample / "labels/y.npy")
    meta = pd.read_csv(sample / "meta.csv")
    assert matrix.shape == (92, 71)
    for row, text in zip(matrix, meta["scp_codes"]):
        assert all((f"'{name}'" in text) == bool(value) for name, value in zip(definition["name"], row))
    weights = json.loads((sample / "labels/pos_weight.txt").read_text())
    train = meta["strat_fold"] <= 8
    for weight, column in zip(weights, matrix[train].T):
        positives = column.sum()
        assert weight == pytest.approx((len(column) - positives) / positives if positives else 1.0, abs=1e-6)


@pytest.mark.parametrize(
    "task, classes", [("diagnostic", 44), ("subdiagnostic", 23), ("superdiagnostic", 5), ("form", 19), ("rhythm", 12)]
)
def test_the_benchmark_tasks_have_their_published_numbers_of_classes(sample, task, classes):
    cfg = parse_options([f"labels={task}"], register_source.get("ptbxl").dataclass)
    source = register_source.get("ptbxl").cls(SAMPLE, cfg)
    meta = pd.read_csv(sample / "meta.csv")
    labels = source.labels(meta)
    assert labels.shape == (92, classes + 1)
    unlabelled = labels.drop(columns="idx").isna().all(axis=1).to_numpy()
    assert (source.split(meta).isna().to_numpy() == unlabelled).all()
    assert unlabelled.any() == (task in ("form", "rhythm", "diagnostic", "subdiagnostic", "superdiagnostic"))


def test_a_second_run_does_only_what_is_missing(sample, tmp_path):
    dest = tmp_path / "dest"
    shutil.copytree(sample, dest)
    for path in (dest / "manifest").rglob("*.tsv"):
        path.unlink()
    before = stamps(dest)
    (dest / "segmented/ptbxl_00017_hr_0.mat").unlink()
    (dest / "segmented/.ptbxl_00028_hr_0.mat.123.tmp").write_bytes(b"partial")
    with open(dest / "progress.jsonl", "a") as file:
        file.write('{"save_file": "ptbxl_000')  # as if the run had been killed in the middle of the line
    run("ptbxl", SAMPLE, dest)
    after = stamps(dest)
    assert {name for name in after if before.get(name) != after[name]} == {
        "ptbxl_00017_hr_0.mat",
        "ptbxl_00017_hr_1.mat",
    }
    assert set(after) == set(before)
    assert (dest / "manifest/cmsc/test.tsv").is_file()


def test_a_changed_setting_redoes_the_signals_and_leaves_no_old_file(tmp_path):
    for i in range(3):
        write_wfdb(tmp_path / "raw", f"r{i}", noise(seed=i))
    dest = tmp_path / "dest"
    run("wfdb", tmp_path / "raw", dest, "segment_seconds=2.5")
    assert len(stamps(dest)) == 12
    run("wfdb", tmp_path / "raw", dest, "sample_rate=250")
    assert len(stamps(dest)) == 6
    assert loadmat(dest / "segmented/wfdb_r0_1.mat")["feats"].shape == (12, 1250)
    before = stamps(dest)
    run("wfdb", tmp_path / "raw", dest, "sample_rate=250", "seed=3")  # changes the split alone
    assert stamps(dest) == before


def test_a_replaced_or_removed_record_is_noticed(tmp_path):
    for i in range(3):
        write_wfdb(tmp_path / "raw", f"r{i}", noise(seed=i))
    dest = tmp_path / "dest"
    run("wfdb", tmp_path / "raw", dest)
    write_wfdb(tmp_path / "raw", "r1", noise(10000, seed=9))
    for path in (tmp_path / "raw").glob("r2.*"):
        path.unlink()
    run("wfdb", tmp_path / "raw", dest)
    listed = [Path(path).name for path in pd.read_csv(dest / "segmented.csv")["path"]]
    assert listed == [*(f"wfdb_r0_{i}.mat" for i in range(2)), *(f"wfdb_r1_{i}.mat" for i in range(4))]
    assert set(listed) <= set(stamps(dest)) and "wfdb_r2_0.mat" in stamps(dest)  # nothing computed is thrown away
    assert len(pd.read_csv(dest / "meta.csv")) == 2


def test_a_folder_of_another_dataset_is_refused(sample, tmp_path):
    write_wfdb(tmp_path / "raw", "r0", noise())
    before = stamps(sample)
    with pytest.raises(ConfigError, match="holds another dataset"):
        run("wfdb", tmp_path / "raw", sample)
    assert stamps(sample) == before and len(pd.read_csv(sample / "records.csv")) == 92


def test_several_processes_write_the_same_files_as_one(sample, tmp_path):
    run("ptbxl", SAMPLE, tmp_path, processes=2)
    for path in sorted((sample / "segmented").iterdir())[::20]:
        other = loadmat(tmp_path / "segmented" / path.name)
        for name, value in loadmat(path).items():
            if not name.startswith("__"):
                np.testing.assert_array_equal(other[name], value)
    columns = [name for name in pd.read_csv(sample / "meta.csv").columns if name != "save_path"]
    assert pd.read_csv(sample / "meta.csv")[columns].equals(pd.read_csv(tmp_path / "meta.csv")[columns])


@pytest.fixture
def troubled(tmp_path):
    """Seven good records, and one of each kind of trouble."""
    raw = tmp_path / "raw"
    for i in range(7):
        write_wfdb(raw, f"good{i}", noise(seed=i))
    flat, missing = noise(), noise()
    flat[8] = 250
    missing[2, 100:200] = -32768
    write_wfdb(raw, "flat", flat)
    write_wfdb(raw, "nan", missing)
    write_wfdb(raw, "fewer", noise(leads=5), leads=("I", "II", "V1", "V2", "V3"))
    write_wfdb(raw, "checksum", noise(), checksum=False)
    write_wfdb(raw, "short", noise(1500))
    write_wfdb(raw, "other", noise(leads=2), leads=("Vx", "Vy"))
    write_wfdb(raw, "truncated", noise())
    (raw / "truncated.dat").write_bytes((raw / "truncated.dat").read_bytes()[:1000])
    write_wfdb(raw, "alone", noise())
    (raw / "alone.dat").unlink()
    return raw


def test_every_kind_of_bad_record_is_listed_with_its_reason(troubled, tmp_path):
    report = run("wfdb", troubled, tmp_path / "dest")
    skipped = pd.read_csv(tmp_path / "dest/skipped.csv").set_index("path")
    expected = {
        "flat.hea": ("flagged", "constant_leads_any (V3)"),
        "nan.hea": ("left out", "nan_any (III)"),
        "fewer.hea": ("left out", "nan_any (III, aVR, aVL, aVF, V4, V5, V6)"),
        "checksum.hea": ("flagged", "wrong_checksum"),
        "short.hea": ("too short", "3 s, shorter than a segment of 5 s"),
        "other.hea": ("unreadable", "Set leads="),
        "truncated.hea": ("unreadable", "truncated"),
        "alone.hea": ("unreadable", "does not exist"),
    }
    assert set(skipped.index) == set(expected)
    for path, (kind, reason) in expected.items():
        assert skipped.loc[path, "kind"] == kind and reason in skipped.loc[path, "reason"], path
    meta = pd.read_csv(tmp_path / "dest/meta.csv")
    assert len(meta) == 12 and report.kept == 12
    listed = "".join(path.read_text() for path in (tmp_path / "dest/manifest").glob("*.tsv"))
    assert "wfdb_flat_0.mat" in listed and "wfdb_checksum_0.mat" in listed
    assert "wfdb_nan_0.mat" not in listed and "wfdb_fewer_0.mat" not in listed
    assert not loadmat(tmp_path / "dest/segmented/wfdb_flat_0.mat")["feats"][8].any()
    text = report.text()
    assert "truncated.hea" in text and "unreadable" in text and "skipped.csv" in text


def test_a_repaired_record_is_read_by_the_next_run_and_the_others_are_not_touched(troubled, tmp_path):
    run("wfdb", troubled, tmp_path / "dest")
    before = stamps(tmp_path / "dest")
    write_wfdb(troubled, "truncated", noise())
    run("wfdb", troubled, tmp_path / "dest")
    after = stamps(tmp_path / "dest")
    assert set(after) - set(before) == {"wfdb_truncated_0.mat", "wfdb_truncated_1.mat"}
    assert {name: after[name] for name in before} == before


def test_filters_and_strategies_do_what_their_options_say(troubled, tmp_path):
    dest = tmp_path / "dest"
    run(
        "wfdb",
        troubled,
        dest,
        "filter_cols=constant_leads_any,wrong_checksum",
        "constant_leads=nan",
        "derive_leads=true",
    )
    listed = "".join(path.read_text() for path in (dest / "manifest").glob("*.tsv"))
    assert "wfdb_flat" not in listed and "wfdb_checksum" not in listed and "wfdb_fewer" in listed
    assert np.isnan(loadmat(dest / "segmented/wfdb_flat_0.mat")["feats"][8]).all()
    fewer = loadmat(dest / "org/wfdb_fewer.mat")["feats"]
    np.testing.assert_allclose(fewer[2], fewer[1] - fewer[0], atol=1e-6)
    assert np.isnan(fewer[11]).all()


def test_no_usable_record_ends_with_the_first_reason(tmp_path):
    write_wfdb(tmp_path / "raw", "other", noise(leads=2), leads=("Vx", "Vy"))
    with pytest.raises(ConfigError, match=r"none of the 1 records could be used. The first, other.hea: .*leads=Vx,Vy"):
        run("wfdb", tmp_path / "raw", tmp_path / "dest")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no record found below"):
        run("wfdb", tmp_path / "empty", tmp_path / "dest")
    with pytest.raises(ConfigError, match="is not a folder"):
        run("wfdb", tmp_path / "nowhere", tmp_path / "dest")


def test_a_full_disk_stops_the_run_and_keeps_what_is_done(troubled, tmp_path, monkeypatch):
    calls = []

    def full_after_three(source, row, dest):
        calls.append(row["path"])
        if len(calls) > 3:
            raise OSError(28, "No space left on device")
        return real(source, row, dest)

    real = pipeline.process_record
    monkeypatch.setattr(pipeline, "process_record", full_after_three)
    with pytest.raises(ConfigError, match=r"No space left on device\. .* free in .*\. Make room"):
        run("wfdb", troubled, tmp_path / "dest")
    monkeypatch.setattr(pipeline, "process_record", real)
    done = [json.loads(line)["save_file"] for line in (tmp_path / "dest/progress.jsonl").read_text().splitlines()]
    assert 1 <= len(done) <= 3
    before = stamps(tmp_path / "dest")
    run("wfdb", troubled, tmp_path / "dest")
    after = stamps(tmp_path / "dest")
    kept = [name for name in before if f"{name[:-6]}.mat" in done]
    assert kept and all(after[name] == before[name] for name in kept)


def test_own_wfdb_records_take_age_and_sex_from_headers_and_patients_from_folders(tmp_path):
    for patient in ("anna", "bert", "cleo"):
        for i in range(2):
            write_wfdb(tmp_path / "raw" / patient, f"r{i}", noise(seed=i))
    dest = tmp_path / "raw" / "prepared"  # a DEST inside SOURCE is no source
    run("wfdb", tmp_path / "raw", dest, "patient_from_folder=true", "fractions=0.34,0.33,0.33")
    run("wfdb", tmp_path / "raw", dest, "patient_from_folder=true", "fractions=0.34,0.33,0.33")
    meta = pd.read_csv(dest / "meta.csv")
    assert len(meta) == 6 and (meta["age"] == 60).all() and (meta["sex"] == 1).all()
    assert list(meta["patient_id"]) == ["anna"] * 2 + ["bert"] * 2 + ["cleo"] * 2
    split = pd.read_csv(dest / "meta_split.csv")
    assert split.groupby("patient_id")["split"].nunique().max() == 1 and split["split"].nunique() == 3
    numbers = [
        loadmat(dest / "segmented" / name.replace(".mat", "_0.mat"))["patient_id"].item() for name in meta["save_file"]
    ]
    assert numbers[0] == numbers[1] != numbers[2] and min(numbers) >= 0


def test_segments_of_a_multi_segment_record_are_no_records(data, tmp_path):
    report = run("wfdb", data / "wfdb_samples/wfdb_formats", tmp_path, "leads=MLII,V5", "keep_org=false")
    assert report.total == 5
    assert not (tmp_path / "org").exists()
    meta = pd.read_csv(tmp_path / "meta.csv").set_index("path")
    assert meta.loc["100ms/100ms.hea", "wrong_checksum"] and not meta.loc["100.hea", "wrong_checksum"]


@pytest.fixture
def arrays(tmp_path):
    folder = tmp_path / "arrays"
    (folder / "ward").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(8):
        np.save(folder / "ward" / f"ecg{i}.npy", rng.standard_normal((12, 2600 if i else 5200)))
    return folder


def test_npy_files_and_a_table_give_rates_patients_labels_and_splits(arrays, tmp_path):
    table = pd.DataFrame(
        {
            "filename": [f"ecg{i}" for i in range(7)],  # the eighth file is in no row
            "sample_rate": [500] + [250] * 6,
            "patient_id": ["A", "A", "B", "C", "D", "E", "F"],
            "age": [61, 61, 40, 33, 50, 70, 29],
            "sex": ["F", "F", "M", "male", "Female", None, "M"],
            "report": ["sinus rhythm"] * 7,
            "AF": [0, 1, 0, 1, 0, np.nan, 1],
            "MI": [True, False, True, True, False, False, True],
            "bpm": [60, 70, 80, 90, 61, 62, 63],
        }
    )
    table.to_csv(arrays / "about.csv", index=False)
    dest = tmp_path / "dest"
    run("npy", arrays, dest, "source_rate=250")
    meta = pd.read_csv(dest / "meta.csv")
    assert list(meta["sample_rate"]) == [500] + [250] * 7
    assert list(meta["sex"].fillna(-1)) == [1, 1, 0, 0, 1, -1, 0, -1]
    labels = pd.read_csv(dest / "labels/labels.csv")
    assert list(labels.columns) == ["idx", "AF", "MI"]
    matrix = np.load(dest / "labels/y.npy")
    np.testing.assert_array_equal(matrix[:, 0], [0, 1, 0, 1, 0, np.nan, 1, np.nan])
    split = pd.read_csv(dest / "meta_split.csv")
    assert split.loc[split["patient_id"] == "A", "split"].nunique() == 1 and len(split) == 8
    assert loadmat(dest / "segmented/npy_ward_ecg1_1.mat")["feats"].shape == (12, 2500)  # 10.4 s at 250 Hz
    alone = loadmat(dest / "segmented/npy_ward_ecg7_0.mat")["patient_id"].item()
    assert alone < 0


def test_a_table_may_bring_its_own_splits(arrays, tmp_path):
    words = ["train", "train", "val", "test", "Train", "", "valid", "test"]
    rows = "\n".join(f"ward/ecg{i}.npy,{word}" for i, word in enumerate(words))
    (tmp_path / "about.csv").write_text(f"path,split\n{rows}\n")
    run("npy", arrays, tmp_path / "dest", f"table={tmp_path / 'about.csv'}", "source_rate=250")
    split = pd.read_csv(tmp_path / "dest/meta_split.csv")
    assert split["split"].value_counts().to_dict() == {"train": 3, "valid": 2, "test": 2}
    (tmp_path / "about.csv").write_text(f"path,split\n{rows.replace('test', 'tset')}\n")
    with pytest.raises(ConfigError, match="'tset'"):
        run("npy", arrays, tmp_path / "dest", f"table={tmp_path / 'about.csv'}", "source_rate=250")


def test_csv_files_with_named_columns_are_records(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "raw"
    folder.mkdir()
    signal = rng.standard_normal((1500, 3))
    for name in ("a", "b", "c"):
        pd.DataFrame(signal, columns=["V2", "I", "ii"]).to_csv(folder / f"{name}.csv", index=False)
    (folder / "table.csv").write_text("path,patient_id,AF\na.csv,1,1\nb.csv,2,0\nc.csv,3,1\n")
    run("csv", folder, tmp_path / "dest", "source_rate=250", "sample_rate=250", "leads=I,II,V2", "standardise=false")
    found = loadmat(tmp_path / "dest/segmented/csv_b_0.mat")
    np.testing.assert_allclose(found["feats"], signal[:1250, [1, 2, 0]].T, rtol=1e-6)
    assert found["patient_id"].item() == 2
    assert list(pd.read_csv(tmp_path / "dest/labels/labels.csv").columns) == ["idx", "AF"]


def test_labels_of_your_own_replace_those_of_the_dataset(tmp_path):
    table = pd.read_csv(SAMPLE / "ptbxl_database.csv", usecols=["ecg_id", "sex"])
    table.iloc[::-1].rename(columns={"sex": "female"}).to_csv(tmp_path / "mine.csv", index=False)
    run("ptbxl", SAMPLE, tmp_path / "dest", f"label_file={tmp_path / 'mine.csv'}", "keep_org=false")
    meta = pd.read_csv(tmp_path / "dest/meta.csv")
    np.testing.assert_array_equal(np.load(tmp_path / "dest/labels/y.npy")[:, 0], meta["sex"])
    (tmp_path / "mine.csv").write_text("who,female\n1,0\n")
    with pytest.raises(ConfigError, match="does not say which record"):
        run("ptbxl", SAMPLE, tmp_path / "dest", f"label_file={tmp_path / 'mine.csv'}", "keep_org=false")


@pytest.fixture
def mimic(tmp_path):
    """Four records of two patients, in the set's own lead order, as MIMIC-IV-ECG lays them out."""
    base = tmp_path / "raw" / "mimic-iv-ecg-diagnostic-electrocardiogram-matched-subset-1.0"
    order = [0, 1, 2, 3, 5, 4, 6, 7, 8, 9, 10, 11]  # aVF before aVL
    rows = []
    for study, subject in ((104, 11), (101, 10), (102, 10), (103, 11)):
        path = f"files/p1000/p{subject}/s{study}/{study}"
        counts = noise(seed=study)
        write_wfdb((base / path).parent, str(study), counts[order], leads=[LEADS[i] for i in order], comments=())
        rows.append(f"{subject},{study},{study},21{study - 90}-03-01 10:00:00,{path}")
    (base / "record_list.csv").write_text("subject_id,study_id,file_name,ecg_time,path\n" + "\n".join(rows) + "\n")
    reports = "subject_id,study_id,cart_id,report_0,report_1,report_2,rr_interval,p_axis\n"
    reports += "10,101,1,Sinus rhythm,,Normal ECG,810,40\n11,103,1,,,,29999,-12\n"
    (base / "machine_measurements.csv").write_text(reports)
    hosp = tmp_path / "iv" / "hosp"
    hosp.mkdir(parents=True)
    patients = "subject_id,gender,anchor_age,anchor_year,anchor_year_group\n"
    patients += "10,F,50,2111,2008 - 2010\n11,M,30,2110,2011 - 2013\n"
    (hosp / "patients.csv").write_text(patients)
    return tmp_path


def test_mimic_iv_ecg_keeps_reports_and_patients_and_orders_leads_by_name(mimic):
    dest = mimic / "dest"
    run("mimic_iv_ecg", mimic / "raw", dest, f"mimic_iv_root={mimic / 'iv'}", "standardise=false")
    meta = pd.read_csv(dest / "meta.csv")
    assert list(meta["study_id"]) == [101, 102, 103, 104] and list(meta["patient_id"]) == [10, 10, 11, 11]
    assert meta["report"][0] == "Sinus rhythm; Normal ECG"
    assert meta["rr_interval"].fillna(0).tolist() == [810, 0, 29999, 0] and meta["p_axis"][2] == -12
    assert list(meta["sex"]) == [1, 1, 0, 0]
    np.testing.assert_allclose(meta["age"], [50.2, 51.2, 33.2, 34.2], atol=0.05)
    assert meta["anchored_date"][0].startswith("2009")
    name = "mimic_iv_ecg_p1000_p10_s101_101"
    assert meta["save_file"][0] == f"{name}.mat"
    np.testing.assert_allclose(loadmat(dest / "org" / f"{name}.mat")["feats"], noise(seed=101) / 1000, atol=1e-6)
    split = pd.read_csv(dest / "meta_split.csv")
    assert split.groupby("patient_id")["split"].nunique().max() == 1
    assert not (dest / "labels").exists()


def test_mimic_iv_ecg_takes_the_labelers_table_by_study(mimic):
    (mimic / "labels.csv").write_text("study_id,AF\n103,1\n101,0\n")
    report = run("mimic_iv_ecg", mimic / "raw", mimic / "dest", f"label_file={mimic / 'labels.csv'}")
    np.testing.assert_array_equal(np.load(mimic / "dest/labels/y.npy")[:, 0], [0, np.nan, 1, np.nan])
    assert report.labels == 1


def test_physionet_records_belong_to_the_first_folder_below_source_or_training(tmp_path):
    for folder in ("georgia/g1", "training/ptb-xl/g1"):
        write_wfdb(tmp_path / "raw" / folder, "E1", noise(), comments=("Dx: 426783006",))
    run("physionet2021", tmp_path / "raw", tmp_path / "dest", "dataset_subset=georgia")
    meta = pd.read_csv(tmp_path / "dest/meta.csv")
    assert list(meta["dataset"]) == ["georgia", "ptb-xl"]
    assert list(meta["save_file"]) == ["physionet2021_georgia_g1_E1.mat", "physionet2021_ptb-xl_g1_E1.mat"]
    assert list(pd.read_csv(tmp_path / "dest/meta_split.csv")["idx"]) == [0]
    with pytest.raises(UsageError, match="did you mean 'georgia'"):
        run("physionet2021", tmp_path / "raw", tmp_path / "dest", "dataset_subset=gerogia")


def test_splits_are_seeded_and_their_shares_are_counted_in_patients(tmp_path):
    for i in range(20):
        write_wfdb(tmp_path / "raw", f"r{i:02}", noise(2500, seed=i))
    tables = []
    for seed in (0, 0, 1):
        run("wfdb", tmp_path / "raw", tmp_path / "dest", f"seed={seed}", "fractions=0.5,0.25,0.25")
        tables.append(pd.read_csv(tmp_path / "dest/meta_split.csv"))
    assert tables[0].equals(tables[1]) and not tables[0].equals(tables[2])
    assert tables[0]["split"].value_counts().to_dict() == {"train": 10, "valid": 5, "test": 5}


@pytest.mark.parametrize("error", [TypeError, AssertionError, AttributeError, NameError])
def test_a_mistake_of_ours_ends_the_run_and_is_no_bad_record_or_table(tmp_path, monkeypatch, error):
    def wrong(*_):
        raise error("ours")

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "process_record", wrong)
        with pytest.raises(error, match="ours") as caught:
            run("ptbxl", SAMPLE, tmp_path / "a")
    assert "records500" in caught.value.__notes__[0]
    for name in ("records", "labels", "split"):
        with monkeypatch.context() as patch:
            patch.setattr(register_source.get("ptbxl").cls, name, wrong)
            with pytest.raises(error, match="ours"):
                run("ptbxl", SAMPLE, tmp_path / "b")


@pytest.mark.parametrize("error", [ValueError, OverflowError, EOFError, MemoryError, OSError])
def test_what_a_broken_file_does_to_a_reader_is_a_skipped_record(tmp_path, monkeypatch, error):
    read = register_source.get("ptbxl").cls.read

    def broken(self, row):
        if row["idx"] == 3:
            raise error("its bytes")
        return read(self, row)

    monkeypatch.setattr(register_source.get("ptbxl").cls, "read", broken)
    run("ptbxl", SAMPLE, tmp_path)
    skipped = pd.read_csv(tmp_path / "skipped.csv")
    assert skipped["kind"].tolist() == ["unreadable"] and "its bytes" in skipped["reason"][0]
