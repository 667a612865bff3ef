"""The smaller public datasets, each from a folder laid out as its publisher does."""

import shutil

import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat

from ecg_signals.config import ConfigError
from ecg_signals.preprocess.datasets.echonext import FINDINGS
from ecg_signals.preprocess.options import parse_options
from ecg_signals.preprocess.pipeline import preprocess_dataset
from ecg_signals.registry import register_source
from ecg_signals.signal.leads import LEADS


def run(name, source, dest, *settings):
    preprocess_dataset(name, source, dest, parse_options(settings, register_source.get(name).dataclass), 1)
    labels = dest / "labels/labels.csv"
    return pd.read_csv(dest / "meta.csv"), pd.read_csv(labels) if labels.is_file() else None


def write_wfdb(folder, name, signals, rate, comments=(), samples=3000):
    """Noise with 1000 counts per mV; returns it in mV, [signals, samples]."""
    folder.mkdir(parents=True, exist_ok=True)
    counts = np.random.default_rng(len(name)).integers(-900, 900, (len(signals), samples))
    lines = [f"{name} {len(signals)} {rate} {samples}"]
    lines += [f"{name}.dat 16 1000/mV 16 0 0 {row.sum() % 65536} 0 {lead}" for row, lead in zip(counts, signals)]
    (folder / f"{name}.hea").write_text("\n".join([*lines, *(f"# {line}" for line in comments)]) + "\n")
    counts.T.astype("<i2").tofile(folder / f"{name}.dat")
    return counts / 1000


def positives(labels):
    return [sorted(labels.columns[1:][row == 1]) for row in labels.iloc[:, 1:].to_numpy()]


def test_every_name_of_the_contract_is_a_dataset():
    wanted = "ptbxl physionet2021 code15 mimic_iv_ecg sph samitrop hefei ecg_id ludb cpsc2018 chapman incart ptb"
    wanted += " wfdb npy csv files"  # `files`: records of any format
    wanted += " echonext zzu_pecg"
    assert set(wanted.split()) == set(register_source.names())


def test_sph_labels_are_the_primary_statements(tmp_path):
    import h5py

    raw = tmp_path / "raw"
    (raw / "records").mkdir(parents=True)
    (raw / "code.csv").write_text("Code,Description\n1,Normal ECG\n22,Sinus bradycardia\n60,Ventricular premature\n")
    rows = ["ECG_ID,AHA_Code,Patient_ID,Age,Sex,N,Date"]
    for i, code in enumerate(["1", "60+310;22", "22"]):
        rows.append(f"A0000{i},{code},S{i // 2},{50 + i},{'MF'[i % 2]},2500,2020-01-01")
        with h5py.File(raw / "records" / f"A0000{i}.h5", "w") as file:
            file["ecg"] = np.random.default_rng(i).standard_normal((12, 2500)).astype(np.float16)
    (raw / "metadata.csv").write_text("\n".join(rows) + "\n")
    meta, labels = run("sph", raw, tmp_path / "dest")
    assert list(labels.columns[1:]) == ["Normal ECG", "Sinus bradycardia", "Ventricular premature"]
    assert positives(labels) == [["Normal ECG"], ["Sinus bradycardia", "Ventricular premature"], ["Sinus bradycardia"]]
    assert list(meta["sex"]) == [0, 1, 0] and list(meta["patient_id"]) == ["S0", "S0", "S1"]
    assert list(meta["save_file"]) == [f"sph_A0000{i}.mat" for i in range(3)]


def test_zzu_pecg_has_aha_statements_ages_in_days_and_records_of_nine_leads(tmp_path):
    raw = tmp_path / "raw"
    nine = [lead for lead in LEADS if lead not in ("V2", "V4", "V6")]
    write_wfdb(raw / "Child_ecg/P00/P00001", "P00001_E01", LEADS, 500)
    signals = write_wfdb(raw / "Child_ecg/P00/P00002", "P00002_E01", nine, 500)
    (raw / "ECGCode.csv").write_text(
        'Description,AHA(Category&Code),CHN(Category&Code)\nSinus tachycardia,C21,C13\n'
        '"Atrial premature complexes, nonconducted",D31,D22\nLeft ventricular high voltage,N/A,J106\n'
    )
    header = "Filename,ECG_ID,Patient_ID,Age,Gender,Acquisition_date,Sampling_point,Lead,AHA_code,CHN_code,ICD-10 code,"
    rows = [
        "P00/P00001/P00001_E01,P00001_E01,P00001,731d,'Female',2017-11-22 10:46:08,3000,12,'C21','C13','Q21.0','I':0.2",
        "P00/P00002/P00002_E01,P00002_E01,P00002,1d,'Male',2018-01-02 03:04:05,3000,9,"
        "'D31';'Left ventricular high voltage','D22';'J106',,'I':0.5;'V2':Null",
    ]
    (raw / "AttributesDictionary.csv").write_text("\n".join([f"{header}pSQI", *rows]) + "\n")
    meta, labels = run("zzu_pecg", raw, tmp_path / "dest")
    assert positives(labels) == [
        ["Sinus tachycardia"], ["Atrial premature complexes, nonconducted", "Left ventricular high voltage"]
    ]  # fmt: skip
    assert list(meta["sex"]) == [1, 0] and list(meta["Lead"]) == [12, 9] and meta["patient_id"][1] == "P00002"
    np.testing.assert_allclose(meta["age"], [731 / 365.25, 1 / 365.25])
    feats = loadmat(tmp_path / "dest/org/zzu_pecg_P00002_E01.mat")["feats"]
    np.testing.assert_allclose(feats[[LEADS.index(lead) for lead in nine]], signals, atol=1e-6)
    assert np.isnan(feats[LEADS.index("V2")]).all()


def echonext(folder, counts, listed):
    """EchoNext with so many records in the arrays, and in the table, of each split."""
    folder.mkdir()
    flags = [f"{name}_flag" for name in FINDINGS]
    rows, waves = [], {}
    for split, count in counts.items():
        waves[split] = np.random.default_rng(count).standard_normal((count, 1, 2500, 12)).astype(np.float32)
        np.save(folder / f"EchoNext_{split}_waveforms.npy", waves[split])
    for split, count in listed.items():
        for number in range(count):
            values = dict.fromkeys(flags, number % 2) | {flags[0]: 1}
            about = {"ecg_key": f"{split}{number}", "patient_key": f"{split}{number // 2}", "age_at_ecg": 60}
            rows.append({**about, "sex": "Female", "split": split, **values})
    pd.DataFrame(rows).sample(frac=1, random_state=0).sort_values("split", kind="stable").to_csv(
        folder / "EchoNext_metadata_100k.csv", index=False
    )
    return waves


def test_echonext_rows_of_a_split_are_those_of_its_array(tmp_path):
    counts = {"train": 4, "val": 2, "test": 2, "no_split": 2}
    waves = echonext(tmp_path / "raw", counts, counts)
    meta, labels = run("echonext", tmp_path / "raw", tmp_path / "dest", "segment_seconds=10")
    assert list(labels.columns[1:]) == list(FINDINGS) and (labels["lvef_lte_45"] == 1).all()
    keys = pd.read_csv(tmp_path / "raw/EchoNext_metadata_100k.csv").query("split == 'train'")["ecg_key"]
    for place, key in enumerate(keys):
        feats = loadmat(tmp_path / f"dest/org/echonext_{key}.mat")["feats"]
        np.testing.assert_array_equal(feats, waves["train"][place, 0].T)
    split = pd.read_csv(tmp_path / "dest/meta_split.csv")["split"]
    assert split.value_counts().to_dict() == {"train": 4, "valid": 2, "test": 2} and (meta["sample_rate"] == 250).all()
    assert (meta["sex"] == 1).all() and (meta["age"] == 60).all()


def test_echonext_tables_and_arrays_of_two_versions_do_not_mix(tmp_path):
    echonext(tmp_path / "raw", {"train": 3, "test": 2}, {"train": 4, "test": 2})
    with pytest.raises(ConfigError, match=r"train_waveforms.npy holds 3 records, but .* lists 4 of the split train"):
        run("echonext", tmp_path / "raw", tmp_path / "dest")
    shutil.rmtree(tmp_path / "raw")
    echonext(tmp_path / "raw", {"train": 2}, {"train": 2, "val": 3})
    options = parse_options([], register_source.get("echonext").dataclass)
    report = preprocess_dataset("echonext", tmp_path / "raw", tmp_path / "dest", options, 1)
    assert report.remarks[0] == "3 records are left out, as EchoNext_val_waveforms.npy is not there"


def test_samitrop_rows_of_table_and_tracings_belong_together(tmp_path):
    import h5py

    raw = tmp_path / "raw"
    raw.mkdir()
    tracings = np.random.default_rng(0).standard_normal((3, 4096, 12)).astype(np.float32)
    tracings[1, :600] = tracings[1, -562:] = 0
    with h5py.File(raw / "exams.hdf5", "w") as file:
        file["tracings"] = tracings
    rows = ["exam_id,age,is_male,normal_ecg,death,timey", "907,60,True,False,True,1.5", "12,71,False,True,False,2"]
    table = "\n".join([*rows, "55,48,True,True,False,2"]) + "\n"
    (raw / "exams.csv").write_text(table)
    meta, labels = run("samitrop", raw, tmp_path / "dest")
    assert list(meta["exam_id"]) == [907, 12, 55] and list(meta["sample_size"]) == [4096, 2934, 4096]
    np.testing.assert_allclose(loadmat(tmp_path / "dest/org/samitrop_12.mat")["feats"], tracings[1, 600:-562].T)
    assert positives(labels) == [["death", "is_male"], ["normal_ecg"], ["is_male", "normal_ecg"]]


def test_cpsc2018_reads_the_original_matlab_files(data, tmp_path):
    meta, labels = run("cpsc2018", data / "wfdb_samples/cpsc2018", tmp_path)
    reference = pd.read_csv(data / "wfdb_samples/cpsc2018/REFERENCE.csv")
    classes = list(labels.columns[1:])
    assert [classes.index(found[0]) + 1 for found in positives(labels)] == list(reference["First_label"])
    assert meta["age"].notna().all() and (meta["sample_rate"] == 500).all()


def test_ptb_takes_patients_from_folders_and_labels_from_headers(tmp_path):
    signals = [name.lower() for name in LEADS] + ["vx", "vy", "vz"]
    reasons = ["Myocardial infarction", "Healthy control", "n/a"]
    for i, reason in enumerate(reasons):
        comments = ["age: 81", "sex: female", f"Reason for admission: {reason}"]
        millivolt = write_wfdb(tmp_path / f"raw/patient00{i}", f"s001{i}_re", signals, 1000, comments, samples=6000)
    meta, labels = run("ptb", tmp_path / "raw", tmp_path / "dest")
    assert list(meta["patient_id"]) == ["patient000", "patient001", "patient002"] and (meta["sex"] == 1).all()
    assert positives(labels) == [["Myocardial infarction"], ["Healthy control"], []]
    assert labels.iloc[2, 1:].isna().all()
    org = loadmat(tmp_path / "dest/org/ptb_patient002_s0012_re.mat")["feats"]
    np.testing.assert_allclose(org, millivolt[:12], atol=1e-6)


def test_incart_reads_the_patient_from_the_comments(tmp_path):
    for i in range(2):
        comments = ["<age>: 65 <sex>: F <diagnoses> Coronary artery disease", "patient 1", "PVCs, noise"]
        write_wfdb(tmp_path / "raw", f"I0{i}", LEADS, 257, comments, samples=2600)
    meta, _ = run("incart", tmp_path / "raw", tmp_path / "dest")
    assert list(meta["patient_id"]) == [1, 1] and list(meta["age"]) == [65, 65] and list(meta["sex"]) == [1, 1]
    assert list(meta["diagnosis"]) == ["Coronary artery disease"] * 2 and list(meta["sample_rate"]) == [257, 257]
    assert len(list((tmp_path / "dest/segmented").iterdir())) == 4


def test_hefei_derives_the_four_leads_that_it_does_not_store(tmp_path):
    raw = tmp_path / "raw"
    (raw / "train").mkdir(parents=True)
    stored = ["I", "II", "V1", "V2", "V3", "V4", "V5", "V6"]
    counts = np.random.default_rng(0).integers(-300, 300, (5000, 8))
    for name in ("7.txt", "8.txt"):
        text = [" ".join(stored), *(" ".join(map(str, row)) for row in counts)]
        (raw / "train" / name).write_text("\n".join(text) + "\n")
    (raw / "hf_round1_label.txt").write_text(
        "7.txt\t63\tFEMALE\t窦性心律\tQRS低电压\n8.txt\t\t\t窦性心律\n", encoding="utf-8"
    )
    meta, labels = run("hefei", raw, tmp_path / "dest")
    assert list(labels.columns[1:]) == ["QRS低电压", "窦性心律"]
    assert list(labels["QRS低电压"]) == [1, 0] and list(meta["sex"].fillna(-1)) == [1, -1]
    org = loadmat(tmp_path / "dest/org/hefei_7.mat")["feats"]
    one, two = counts[:, 0] * 4.88e-3, counts[:, 1] * 4.88e-3
    derived = [two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    np.testing.assert_allclose(org[:6], [one, two, *derived], atol=1e-5)
    np.testing.assert_allclose(org[11], counts[:, 7] * 4.88e-3, atol=1e-5)


@pytest.mark.parametrize("filtered", [True, False])
def test_ecg_id_gives_one_lead_and_the_person(tmp_path, filtered):
    comments = ["Age: 25", "Sex: male", "ECG date: 05.11.2004"]
    for person in (1, 2):
        millivolt = write_wfdb(tmp_path / f"raw/Person_0{person}", "rec_1", ["ECG I", "ECG I filtered"], 500, comments)
    meta, _ = run("ecg_id", tmp_path / "raw", tmp_path / "dest", f"filtered={filtered}")
    assert list(meta["patient_id"].astype(int)) == [1, 2] and list(meta["sex"]) == [0, 0]
    org = loadmat(tmp_path / "dest/org/ecg_id_Person_02_rec_1.mat")
    np.testing.assert_allclose(org["feats"], millivolt[[int(filtered)]], atol=1e-6)
    assert org["patient_id"].item() == 2


def test_chapman_reads_both_editions(tmp_path):
    raw = tmp_path / "first"
    (raw / "ECGData").mkdir(parents=True)
    microvolt = np.random.default_rng(0).integers(-900, 900, (5000, 12))
    for name in ("MUSE_1", "MUSE_2"):
        pd.DataFrame(microvolt, columns=LEADS).to_csv(raw / "ECGData" / f"{name}.csv", index=False)
    table = "FileName,Rhythm,Beat,PatientAge,Gender\nMUSE_1,AFIB,RBBB TWC,85,MALE\nMUSE_2,SR,NONE,59,FEMALE\n"
    (raw / "Diagnostics.csv").write_text(table)
    meta, labels = run("chapman", raw, tmp_path / "dest1")
    assert positives(labels) == [["AFIB", "RBBB", "TWC"], ["SR"]] and list(meta["sex"]) == [0, 1]
    found = loadmat(tmp_path / "dest1/org/chapman_MUSE_1.mat")["feats"]
    np.testing.assert_allclose(found, microvolt.T / 1000, atol=1e-6)

    raw = tmp_path / "full"
    for i, codes in enumerate(["164889003,59118001", "426783006"]):
        write_wfdb(raw / "WFDBRecords/01/010", f"JS0000{i}", LEADS, 500, ["Age: 60", "Sex: Male", f"Dx: {codes}"])
    conditions = "Acronym Name,Full Name,Snomed_CT\nAFIB,Atrial Fibrillation,164889003\nSR,Sinus Rhythm,426783006\n"
    (raw / "ConditionNames_SNOMED-CT.csv").write_text(conditions)
    meta, labels = run("chapman", raw, tmp_path / "dest2")
    assert positives(labels) == [["59118001", "AFIB"], ["SR"]]
    assert list(meta["save_file"]) == ["chapman_JS00000.mat", "chapman_JS00001.mat"]


def test_ludb_waves_are_merged_over_leads_and_cut_with_the_signal(tmp_path):
    import wfdb

    folder = tmp_path / "raw/data"
    comments = ["<age>: 51", "<sex>: F", "<diagnoses>:", "Rhythm: Sinus rhythm.", "Left ventricular hypertrophy."]
    write_wfdb(folder, "1", [name.lower() for name in LEADS], 500, comments, samples=5000)
    for shift, lead in enumerate(("i", "ii")):  # the second lead's waves lie two samples later
        waves = [(1000, 1020, 1040, "p"), (1100, 1120, 1150, "N"), (1300, 1350, 1380, "t"), (3000, 3010, 3030, "N")]
        samples = np.array([sample + 2 * shift for wave in waves for sample in wave[:3]])
        symbols = [symbol for wave in waves for symbol in ("(", wave[3], ")")]
        wfdb.wrann("1", lead, samples, symbol=symbols, write_dir=str(folder))
    meta, labels = run("ludb", tmp_path / "raw", tmp_path / "dest", "filter_cols=", "segment_seconds=5")
    assert positives(labels) == [["Left ventricular hypertrophy", "Rhythm: Sinus rhythm"]] and labels.shape[1] == 83
    assert meta["age"][0] == 51 and meta["sex"][0] == 1
    pieces = [loadmat(tmp_path / f"dest/segmented/ludb_1_{i}.mat") for i in range(2)]
    classes = np.concatenate([piece["segment_label"][0] for piece in pieces])
    mask = np.concatenate([piece["segment_mask"][0] for piece in pieces]).astype(bool)
    runs = [(1001, 1041, 0), (1101, 1151, 1), (1301, 1381, 2), (3001, 3031, 1)]
    expected = np.full(5000, 3)
    for first, last, number in runs:
        expected[first : last + 1] = number
    np.testing.assert_array_equal(classes, expected)
    np.testing.assert_array_equal(np.flatnonzero(~mask)[[0, -1]], [1001, 3031])
    run("ludb", tmp_path / "raw", tmp_path / "half", "sample_rate=250", "segment_seconds=10")
    half = loadmat(tmp_path / "half/segmented/ludb_1_0.mat")["segment_label"][0]
    assert half.shape == (2500,) and half[510] == 0 and half[560] == 1 and half[500 - 5] == 3


def spoilt(table, column, value):
    """The first row's value in a column of a CSV file is replaced."""
    found = pd.read_csv(table, dtype=str, keep_default_na=False)
    found.loc[0, column] = value
    found.to_csv(table, index=False)


def test_empty_names_and_numbers_for_words_in_tables_are_one_message_or_no_label(data, tmp_path):
    shutil.copytree(data / "wfdb_samples/cpsc2018", tmp_path / "cpsc")
    spoilt(tmp_path / "cpsc/REFERENCE.csv", "Recording", "")
    meta, labels = run("cpsc2018", tmp_path / "cpsc", tmp_path / "cpsc_dest")
    assert labels.iloc[:, 1:].isna().all(axis=1).sum() == 1 and len(meta) == len(labels)

    raw = tmp_path / "chapman"
    (raw / "ECGData").mkdir(parents=True)
    for number in range(3):
        counts = np.random.default_rng(number).integers(-900, 900, (5000, 12))
        pd.DataFrame(counts, columns=LEADS).to_csv(raw / f"ECGData/M{number}.csv", index=False)
    rows = "".join(f"M{number},7,TWC PVC,60,MALE\n" for number in range(3))
    (raw / "Diagnostics.csv").write_text(f"FileName,Rhythm,Beat,PatientAge,Gender\n{rows}")
    _, labels = run("chapman", raw, tmp_path / "chapman_dest")
    assert positives(labels) == [["7", "PVC", "TWC"]] * 3

    raw = tmp_path / "code15"
    raw.mkdir()
    (raw / "exams.csv").write_text("exam_id,is_male,trace_file\n7,True,\n")
    with pytest.raises(ConfigError, match=r"row 1 of the tables of .*code15 names no record; expected exams.csv"):
        run("code15", raw, tmp_path / "code15_dest")
