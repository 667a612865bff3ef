"""MIMIC-IV-ECG's outputs of several kinds: what its tables say of a record."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_benchmarks import made  # type: ignore[import-not-found]

from ecg_signals.config import ConfigError
from ecg_signals.evaluation.benchmarks.mimic_outputs import codes_of
from ecg_signals.evaluation.benchmarks.mimic_tables import BODY, LABS, VITALS, around

HOUR = pd.Timedelta("1h")
WHEN = pd.Timestamp("2150-03-01 12:00:00")


def test_a_diagnosis_is_also_what_is_more_general():
    assert codes_of("['I4891', 'R079', 'T45XX1A']") == {"I48", "I489", "I4891", "R07", "R079", "T45"}
    assert codes_of("[]") == codes_of(np.nan) == set()


def studies(count: int) -> pd.DataFrame:
    """Two of each patient, a fold after the other; sinus, fibrillation in every second, a rare one."""
    numbers = np.arange(count)
    codes = ["['R001']" if number % 2 else "['I4891', 'R001']" for number in numbers]
    return pd.DataFrame({
        "study_id": 1000 + numbers, "subject_id": numbers // 2, "ecg_time": WHEN, "gender": ["F", "M"] * (count // 2),
        "age": 50.0 + numbers % 3, "all_diag_all": codes, "ecg_taken_in_ed": True, "ecg_no_within_stay": 0,
        "strat_fold": numbers // 2 % 20,
    })  # fmt: skip


def measurements(count: int) -> dict[str, list]:
    return {
        "study_id": (1000 + np.arange(count)).tolist(), "rr_interval": [1000] * count, "qrs_onset": [100] * count,
        "qrs_end": [200] * count, "t_end": [500] * count, "p_axis": [40] * count, "qrs_axis": [-361] * count,
        "t_axis": [10] * count,
    }  # fmt: skip


def test_outputs_are_diagnoses_by_frequency_then_deterioration_sex_and_values(tmp_path: Path):
    table = studies(80)
    table.loc[0, "all_diag_all"] = "[]"  # train: no diagnosis
    table.loc[1, "ecg_taken_in_ed"] = False
    table.loc[[3, 37, 39], "ecg_no_within_stay"] = 1  # folds 1, 18 and 19
    table.to_csv(tmp_path / "icd.csv", index=False)
    worse = pd.DataFrame({"general_data": [5, 4], "deterioration_icu_24h": [1, 0], "deterioration_ecmo": [-999, 1]})
    worse.to_csv(tmp_path / "mds_ed.csv", index=False)
    options = {"diagnoses": str(tmp_path / "icd.csv"), "mds_ed": str(tmp_path / "mds_ed.csv"), "min_records": 30}
    benchmark, found = made("fmb/mimic", measurements(80), **options)
    values = ["age", "RR", "QRS", "QT", "QTc", "P_wave_axis", "QRS_axis", "T_wave_axis"]
    assert found.labels == ["R00", "R001", "I48", "I489", "I4891", "deterioration_icu_24h", "deterioration_ecmo",
                            "male", *values]  # fmt: skip
    assert benchmark.kind == "labels+8" and set(range(80)) - set(found.rows.tolist()) == {0, 1, 37, 39}
    fold = found.rows // 2 % 20
    assert set(fold[found.split == "test"]) == {19} and set(fold[found.split == "valid"]) == {18}
    row = dict(zip(found.labels, found.targets[found.rows.tolist().index(5)]))
    assert row["R00"] == 1 and row["I48"] == 0 and row["deterioration_icu_24h"] == 1 and row["male"] == 1
    assert np.isnan(row["deterioration_ecmo"]) and np.isnan(row["QRS_axis"])  # not observed; beyond 360 degrees
    assert [row[name] for name in ("age", "RR", "QRS", "QT", "QTc")] == [52, 1000, 100, 400, 400]
    others = found.targets[found.rows > 5][:, 5:7]
    assert np.isnan(others).all()
    assert (
        "8 labels and 8 values" in benchmark.remarks[-1]
        and "benchmark.mimic_iv_ed are left out" in benchmark.remarks[-1]
    )
    with pytest.raises(ConfigError, match=r"min_records to less"):
        made("fmb/mimic", measurements(80), **{**options, "min_records": 500})
    with pytest.raises(ConfigError, match=r"diagnoses has no value"):
        made("fmb/mimic", measurements(80))


@pytest.fixture
def mimic_iv(tmp_path: Path) -> Path:
    """Of patient 3 extremes of every kind, long ago, so that no value near an ECG is beyond a percentile."""
    root, old, far = tmp_path / "mimiciv", "2140-01-01", (0.001, 0.001, 0.001, 9999, 9999, 9999)
    day, late, soon = (f"{WHEN + pd.Timedelta(ago)}" for ago in ("-29D", "61min", "-10min"))
    omr = [f"1,{day[:10]},1,Weight (Lbs),150", "1,2149-01-01,1,Weight (Lbs),170", f"1,{day[:10]},1,Blood Pressure,12/8",
           f"9,{day[:10]},1,BMI (kg/m2),30", *(f"3,{old},1,Weight (Lbs),{value}" for value in far)]  # fmt: skip
    labs = [f"1,50912,{late},9,mg/dL", f"1,50912,{soon},1.5,mg/dL", f"1,52546,{soon},7,mg/dL",
            f"1,50912,{soon},80,umol/L", "2,50912,,3,mg/dL", f"1,99999,{soon},4,mg/dL",
            *(f"3,50912,{old},{value},mg/dL" for value in far)]  # fmt: skip
    charted = [f"1,{soon},1,38,C", f"1,{soon},2,200,cm", f"1,{soon},3,41,", f"2,{soon},3,42,%", f"1,{soon},4,1,",
               *(f"3,{old},{item},{value},u" for item in (1, 2, 3) for value in far)]  # fmt: skip
    signs = [f"1,1,{late},,99,,,,", f"1,1,{soon},,88,,,120,80", "2,2,2150-01-01,,77,,,,",
             *(f"3,3,{old},{','.join([str(value)] * 6)}" for value in far)]  # fmt: skip
    tables = {
        "hosp/omr.csv.gz": ("subject_id,chartdate,seq_num,result_name,result_value", omr),
        "hosp/d_labitems.csv.gz": ("itemid,label", ["50912,Creatinine", "52546,Creatinine", "51221,Hematocrit"]),
        "hosp/labevents.csv.gz": ("subject_id,itemid,storetime,valuenum,valueuom", labs),
        "icu/d_items.csv.gz": (
            "itemid,label",
            ["1,Temperature Celsius", "2,Height (cm)", "3,Hematocrit (serum)", "4,Other"],
        ),
        "icu/chartevents.csv.gz": ("subject_id,storetime,itemid,valuenum,valueuom", charted),
        "ed/vitalsign.csv": ("subject_id,stay_id,charttime,temperature,heartrate,resprate,o2sat,sbp,dbp", signs),
    }
    for name, (header, rows) in tables.items():
        path, text = root / name, "\n".join([header, *rows, ""])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return root


def test_what_lies_nearest_to_the_ecg_counts_in_common_units(mimic_iv: Path):
    ecgs = pd.DataFrame({"subject_id": [2, 1, 3], "ecg_time": [WHEN] * 3})
    found = around(ecgs, mimic_iv, mimic_iv)
    assert list(found.columns) == [*BODY, *LABS, *VITALS] and found.loc[2].isna().all()
    assert found.loc[0].dropna().to_dict() == {"Hematocrit": 42}
    assert found.loc[1].dropna().to_dict() == pytest.approx({
        "Height (Inches)": 78.7402, "Weight (Lbs)": 150, "Creatinine": 1.5,  # the charted hematocrit has no unit
        "dbp": 80, "heartrate": 88, "sbp": 120, "temperature": 100.4,
    })  # fmt: skip
    assert around(ecgs, None, mimic_iv).loc[1].dropna().to_dict() == {"dbp": 80, "heartrate": 88, "sbp": 120}
    assert around(ecgs[2:], mimic_iv, None).isna().all().all()


def test_values_of_the_tables_stand_among_the_outputs_and_are_read_once(tmp_path: Path, mimic_iv: Path):
    studies(80).to_csv(tmp_path / "icd.csv", index=False)
    options = {"diagnoses": str(tmp_path / "icd.csv"), "mimic_iv": str(mimic_iv), "mimic_iv_ed": str(mimic_iv)}
    names = ("made", "again")
    for name in names:
        benchmark, found = made("fmb/mimic", measurements(80), tmp_path / "cache", min_records=30, **options)
        assert benchmark.kind == "labels+35" and len(found.labels) == 6 + 35
        row = dict(zip(found.labels, found.targets[found.rows.tolist().index(2)]))
        assert [row[key] for key in ("Weight (Lbs)", "Creatinine", "sbp")] == [150, 1.5, 120], name
        (mimic_iv / "hosp/labevents.csv.gz").unlink(missing_ok=True)
    with pytest.raises(ConfigError, match=r"has none of hosp/labevents.csv, also not as .gz"):
        made("fmb/mimic", measurements(80), tmp_path / "other", min_records=30, **options)
    assert benchmark.values[0] == "age" and benchmark.values[11] == "PT" and benchmark.values[-1] == "temperature"
