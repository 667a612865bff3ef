"""MIMIC-IV-ECG: age, sex, and what the machine measured, each alone and the values together.

The tasks of arXiv:2512.08954, run anew: its published results are of an input that its models were not trained on, and
of features behind a projection that was never trained (examples/benchmark/README.md).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from ecg_signals.config import BaseConfig, ConfigError, option, resolve_input
from ecg_signals.evaluation.benchmarks.base import Benchmark, Examples, known_patients, owners
from ecg_signals.evaluation.benchmarks.data import DataSet
from ecg_signals.metrics.logits import LABELS, VALUES
from ecg_signals.registry import register_benchmark
from ecg_signals.signal.beats import rr_interval
from ecg_signals.tables import Table, read_table

LONGEST, WIDEST = 5000, 360  # ms of an RR interval, degrees of an axis; what is beyond is no measurement
LAST_MS = 29998  # of an interval or a place; 29999 stands for one that was not measured
HIGHEST_AGE = 90  # years, before which a birthday follows the 89th
FOLDS = 20  # of MIMIC-IV-ECG-ICD
UNRELATED = (
    "a split by patient of its own: not comparable with arXiv:2512.08954, whose ECG-FM rests on an untrained projection"
)


def within(meta: Table, name: str, low: float, high: float) -> np.ndarray:
    """[records] a column of meta.csv, NaN beyond these ends."""
    values = meta[name].to_numpy(dtype=np.float64)
    return np.where((values >= low) & (values <= high), values, np.nan)


def duration(meta: Table, first: str, last: str) -> np.ndarray:
    """[records] ms from one place to another, NaN unless it is positive."""
    found = within(meta, last, 0, LAST_MS) - within(meta, first, 0, LAST_MS)
    return np.where(found > 0, found, np.nan)


def rr(meta: Table) -> np.ndarray:
    return within(meta, "rr_interval", 1, LONGEST)


def qt(meta: Table) -> np.ndarray:
    return duration(meta, "qrs_onset", "t_end")


def age(meta: Table) -> np.ndarray:
    """MIMIC-IV joins all ages above 89."""
    return within(meta, "age", 0, HIGHEST_AGE)


@dataclass(frozen=True)
class Value:
    """The columns of meta.csv that it is made of, and how: [records]."""

    columns: tuple[str, ...]
    of: Callable[[Table], np.ndarray]


QT = ("qrs_onset", "t_end")
AXES = {name: Value((name,), partial(within, name=name, low=-WIDEST, high=WIDEST))
        for name in ("p_axis", "qrs_axis", "t_axis")}  # fmt: skip
ECG = {
    "rr": Value(("rr_interval",), rr),
    "qrs": Value(("qrs_onset", "qrs_end"), lambda meta: duration(meta, "qrs_onset", "qrs_end")),
    "qt": Value(QT, qt),
    "qtc": Value((*QT, "rr_interval"), lambda meta: qt(meta) / np.sqrt(rr(meta) / 1000)),
    **AXES,
}
AGE = {"age": Value(("age",), age)}


@dataclass
class MimicMultitaskConfig(BaseConfig):
    folds_file: str | None = option(
        None, "records_w_diag_icd10.csv of MIMIC-IV-ECG-ICD, whose 20 folds by patient are taken: 0-15, 16-17 and "
        "18-19; without it ten folds of patients are drawn",
    )  # fmt: skip


class MimicMultitask(Benchmark):
    """Eight tenths of the patients train, one selects, one tests; a value that is not known is left out by itself."""

    sources = ("mimic_iv_ecg",)
    kind = VALUES
    values: ClassVar[Mapping[str, Value]]
    cfg: MimicMultitaskConfig
    comparable = UNRELATED

    def targets(self, data: DataSet, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
        needed = dict.fromkeys(name for value in self.values.values() for name in value.columns)
        try:
            meta = data.columns(list(needed)).iloc[rows]
        except ConfigError as error:
            raise ConfigError(
                f"{error} again: machine_measurements.csv has intervals and axes, and mimic_iv_root=FOLDER of "
                f"ecg-preprocess gives age and sex"
            ) from None
        return list(self.values), np.stack([value.of(meta) for value in self.values.values()], axis=1)

    def folds(self, data: DataSet, rows: np.ndarray, targets: np.ndarray) -> np.ndarray:
        if self.cfg.folds_file is not None:
            return self._published(data, rows)
        meta = data.meta.iloc[rows]
        patients, group = np.unique(owners(known_patients(meta), meta["idx"]), return_inverse=True)
        place = np.random.RandomState(0).permutation(len(patients))
        return place[group] % self.test_fold + 1

    def _published(self, data: DataSet, rows: np.ndarray) -> np.ndarray:
        path = Path(resolve_input(str(self.cfg.folds_file)))
        table = read_table(path, ["study_id", "strat_fold"]).drop_duplicates("study_id").set_index("study_id")
        found = table["strat_fold"].reindex(data.columns(["study_id"])["study_id"].iloc[rows]).to_numpy(dtype=float)
        if np.isnan(found).any():
            self.remarks.append(f"{int(np.isnan(found).sum())} records have no fold in {path.name}; they train")
        return np.nan_to_num(found, nan=0.0).astype(np.int64) // (FOLDS // self.test_fold) + 1


@register_benchmark("mimic_multitask/age", dataclass=MimicMultitaskConfig)
class MimicAge(MimicMultitask):
    """MIMIC-IV-ECG: the age in years."""

    values = AGE


@register_benchmark("mimic_multitask/rr", dataclass=MimicMultitaskConfig)
class MimicRr(MimicMultitask):
    """MIMIC-IV-ECG: the machine's RR interval in ms; a model worse than the detected beats is of no use."""

    values = {"rr": ECG["rr"]}  # noqa: RUF012, declared by the class above

    def baselines(self, data: DataSet, examples: Examples) -> dict[str, np.ndarray]:
        found = super().baselines(data, examples)
        tested = examples.split == "test"
        beats = found["train median"].copy()
        measured = data.measured("rr", rr_interval, examples.rows[tested])
        beats[tested, 0] = np.where(np.isnan(measured), beats[tested, 0], measured)
        return {**found, "detected beats": beats}


@register_benchmark("mimic_multitask/qrs", dataclass=MimicMultitaskConfig)
class MimicQrs(MimicMultitask):
    """MIMIC-IV-ECG: the machine's QRS duration in ms."""

    values = {"qrs": ECG["qrs"]}  # noqa: RUF012


@register_benchmark("mimic_multitask/qt", dataclass=MimicMultitaskConfig)
class MimicQt(MimicMultitask):
    """MIMIC-IV-ECG: the machine's QT interval in ms."""

    values = {"qt": ECG["qt"]}  # noqa: RUF012


@register_benchmark("mimic_multitask/qtc", dataclass=MimicMultitaskConfig)
class MimicQtc(MimicMultitask):
    """MIMIC-IV-ECG: the QT interval over the root of the RR interval in s, ms (Bazett 1920)."""

    values = {"qtc": ECG["qtc"]}  # noqa: RUF012


@register_benchmark("mimic_multitask/axes", dataclass=MimicMultitaskConfig)
class MimicAxes(MimicMultitask):
    """MIMIC-IV-ECG: the machine's axes of P, QRS and T in degrees."""

    values = AXES


@register_benchmark("mimic_multitask/ecg", dataclass=MimicMultitaskConfig)
class MimicEcg(MimicMultitask):
    """MIMIC-IV-ECG: RR, QRS, QT, QTc and the three axes together, by one head; the mean error mixes ms and degrees."""

    values = ECG


@register_benchmark("mimic_multitask/sex", dataclass=MimicMultitaskConfig)
class MimicSex(MimicMultitask):
    """MIMIC-IV-ECG: whether the patient is female."""

    kind = LABELS
    keeps_unlabelled = True
    values = {"female": Value(("sex",), lambda meta: meta["sex"].to_numpy(dtype=np.float64))}  # noqa: RUF012
