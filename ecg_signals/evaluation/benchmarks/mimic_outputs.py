"""MIMIC-IV-ECG, emergency department: discharge diagnoses, deterioration, sex, and 35 values, by one head.

The 1,127 outputs of arXiv:2509.25095, of as many tables of MIMIC-IV as are given.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ecg_signals.config import BaseConfig, ConfigError, option, resolve_input
from ecg_signals.evaluation.benchmarks.base import Benchmark, one_hot
from ecg_signals.evaluation.benchmarks.data import DataSet
from ecg_signals.evaluation.benchmarks.mimic_multitask import FOLDS, LONGEST, WIDEST, within
from ecg_signals.evaluation.benchmarks.mimic_tables import BODY, LABS, VITALS, around
from ecg_signals.files import replacing
from ecg_signals.metrics.logits import labels_and_values
from ecg_signals.readers.npy_file import load_npy
from ecg_signals.registry import register_benchmark
from ecg_signals.tables import Table, read_table

DIGITS, CATEGORY = 5, 3  # characters of a code of ICD-10 that count, and of the most general one
UNKNOWN = -999  # in MDS-ED
ECG = ("RR", "QRS", "QT", "QTc", "P_wave_axis", "QRS_axis", "T_wave_axis")
ICD = ("study_id", "subject_id", "ecg_time", "gender", "age", "all_diag_all", "ecg_taken_in_ed", "ecg_no_within_stay",
       "strat_fold")  # fmt: skip


@dataclass
class FmbMimicConfig(BaseConfig):
    diagnoses: str = option("???", "records_w_diag_icd10.csv of MIMIC-IV-ECG-ICD, with its 20 folds by patient")
    mds_ed: str | None = option(None, "mds_ed.csv of MIMIC-IV-Ext-MDS-ED, for deterioration; without it none is asked")
    mimic_iv: str | None = option(
        None, "folder of MIMIC-IV with hosp/omr, labevents and d_labitems, icu/chartevents and d_items (.csv or "
        ".csv.gz), for height, weight, BMI and laboratory; without it none of them is asked",
    )  # fmt: skip
    mimic_iv_ed: str | None = option(None, "folder of MIMIC-IV-ED with ed/vitalsign.csv.gz; without it no vital sign")
    min_records: int = option(2000, "records of the whole table that a diagnosis must have", least=1)


@register_benchmark("fmb/mimic", dataclass=FmbMimicConfig)
class FmbMimic(Benchmark):
    """MIMIC-IV-ECG, emergency department: ICD-10 codes, deterioration, sex, and 35 values, each known or not.

    Folds 0-17 of MIMIC-IV-ECG-ICD train, 18 selects and 19 tests, these two with the first ECG of a stay alone. AUROC
    is of the labels; mae, rmse and r2 are of the values, in their units.
    """

    sources = ("mimic_iv_ecg",)
    valid_fold, test_fold = FOLDS - 1, FOLDS
    comparable = "outputs, records and folds of arXiv:2509.25095; its signals and windows: preset=fmb"
    cfg: FmbMimicConfig

    def __init__(self, cfg: FmbMimicConfig) -> None:
        super().__init__(cfg)
        self.kind = labels_and_values(len(self.values))

    @property
    def values(self) -> tuple[str, ...]:
        """Names of those that the given tables tell, in the order of the outputs."""
        body, labs = (BODY, LABS) if self.cfg.mimic_iv else ((), ())
        return ("age", *body, *ECG, *labs, *(VITALS if self.cfg.mimic_iv_ed else ()))

    @cached_property
    def stays(self) -> Table:
        """The table of diagnoses, a row per study."""
        table = read_table(path_of(self.cfg.diagnoses), ICD, text=("all_diag_all",))
        return table.assign(row=range(len(table)), codes=[codes_of(text) for text in table["all_diag_all"]])

    def rows(self, data: DataSet) -> np.ndarray:
        """In the emergency department, with a diagnosis."""
        found = self._of(data.columns(["study_id"]))
        told = (found["ecg_taken_in_ed"].astype(str).str.lower() == "true") & (found["codes"].str.len() > 0)
        first = (found["strat_fold"] < FOLDS - 2) | (found["ecg_no_within_stay"] == 0)
        return np.flatnonzero(told & first & found["strat_fold"].between(0, FOLDS - 1))

    def folds(self, data: DataSet, rows: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return self._of(data.meta.iloc[rows])["strat_fold"].to_numpy(dtype=np.int64) + 1

    def targets(self, data: DataSet, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
        stays = self._of(data.meta.iloc[rows])
        names = frequent_codes(self.stays["codes"], self.cfg.min_records)
        if not names:
            raise ConfigError(f"no diagnosis of {self.cfg.diagnoses} has {self.cfg.min_records} records; set "
                              f"benchmark.min_records to less")  # fmt: skip
        worse = self._deterioration(stays)
        sex = stays["gender"].map({"F": 0.0, "M": 1.0}).to_numpy(dtype=np.float64)[:, None]
        values = self._values(data, rows, stays)
        labels = [*names, *worse, "male"]
        self.remarks.append(f"{len(labels)} labels and {len(self.values)} values of the comparison's 1,127 outputs"
                            + self._lacking())  # fmt: skip
        parts = [one_hot(list(stays["codes"]), names), *(column[:, None] for column in worse.values()), sex]
        parts += [values[name][:, None] for name in self.values]
        return [*labels, *self.values], np.concatenate(parts, axis=1)

    def _of(self, meta: Table) -> Table:
        """The rows of `stays` of records of meta.csv; NaN where it has none."""
        table = self.stays.drop_duplicates("study_id").set_index("study_id")
        return table.reindex(meta["study_id"]).reset_index()

    def _lacking(self) -> str:
        missing = [name for name in ("mds_ed", "mimic_iv", "mimic_iv_ed") if getattr(self.cfg, name) is None]
        return f"; those of benchmark.{', benchmark.'.join(missing)} are left out" if missing else ""

    def _deterioration(self, stays: Table) -> dict[str, np.ndarray]:
        """[records] of every column of MDS-ED, whose `general_data` are rows of the table of diagnoses."""
        if self.cfg.mds_ed is None:
            return {}
        table = read_table(path_of(self.cfg.mds_ed), ["general_data"]).drop_duplicates("general_data")
        names = [str(name) for name in table.columns if "deterioration" in str(name)]
        found = table.set_index("general_data")[names].reindex(stays["row"]).replace(UNKNOWN, np.nan)
        return {name: found[name].to_numpy(dtype=np.float64) for name in names}

    def _values(self, data: DataSet, rows: np.ndarray, stays: Table) -> Mapping[str, np.ndarray]:
        found = {"age": stays["age"].to_numpy(dtype=np.float64), **measured(data, rows)}
        root, ed_root = ((path_of(text) if text else None) for text in (self.cfg.mimic_iv, self.cfg.mimic_iv_ed))
        ecgs = stays[["subject_id", "ecg_time"]]
        columns = [name for name in self.values if name not in found]
        return found | stored(data, f"{root} {ed_root}", ecgs, columns, lambda: around(ecgs, root, ed_root))


def path_of(text: str) -> Path:
    return Path(resolve_input(text))


def codes_of(text: object) -> set[str]:
    """ "['I4891', 'R079']" -> the codes, at most 5 characters without a filling X, and the more general ones."""
    codes = {code.strip()[:DIGITS].rstrip("X") for code in re.findall(r"['\"]([^'\"]+)['\"]", str(text))}
    return {code[:length] for code in codes for length in range(CATEGORY, len(code) + 1)}


def frequent_codes(found: Table, least: int) -> list[str]:
    """Those of so many records, the most frequent first."""
    counts = Counter(code for codes in found for code in codes)
    return sorted((code for code, count in counts.items() if count >= least), key=lambda code: (-counts[code], code))


def measured(data: DataSet, rows: np.ndarray) -> dict[str, np.ndarray]:
    """[records] ECG by the machine's report: ms and degrees, NaN where it lies beyond what can be."""
    axes = ("p_axis", "qrs_axis", "t_axis")
    places = ("rr_interval", "qrs_onset", "qrs_end", "t_end")
    meta = data.columns([*places, *axes]).iloc[rows]
    rr, onset, end, last = (within(meta, name, 0, LONGEST) for name in places)
    with np.errstate(divide="ignore", invalid="ignore"):
        corrected = np.where(rr > 0, (last - onset) / np.sqrt(rr / 1000), np.nan)
    return dict(
        zip(ECG, (rr, end - onset, last - onset, corrected, *(within(meta, name, -WIDEST, WIDEST) for name in axes)))
    )


def stored(
    data: DataSet, places: str, ecgs: Table, columns: Sequence[str], make: Callable[[], Table]
) -> dict[str, np.ndarray]:
    """The columns that `make` takes minutes for; of the cache once they were made of these places for these ECGs."""
    if not columns:
        return {}
    told = repr([places, ecgs.to_csv(), *columns])
    path = data.cache / f"mimic-{hashlib.sha256(told.encode()).hexdigest()[:16]}.npy"
    if not path.is_file():
        table = make()[list(columns)].to_numpy(dtype=np.float64)
        with replacing(path) as partial, partial.open("wb") as file:
            np.save(file, table)
    return dict(zip(columns, load_npy(path).T))
