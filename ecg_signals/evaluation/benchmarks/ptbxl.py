"""PTB-XL: six label sets, superclasses of records that have one, age, and the time between beats."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ecg_signals.config import BaseConfig, option, parse_literal
from ecg_signals.data.ptbxl_statements import label_sets
from ecg_signals.evaluation.benchmarks.base import Benchmark, one_hot
from ecg_signals.evaluation.benchmarks.data import DataSet
from ecg_signals.metrics.logits import CLASSES, VALUES
from ecg_signals.registry import register_benchmark
from ecg_signals.signal.beats import rr_interval

HIDDEN_AGE = 300  # years; stands for all ages above 89


@dataclass
class PtbxlLabelsConfig(BaseConfig):
    min_samples: int = option(0, "leave out classes of at most so many records; not of `diagnostic`", least=0)


class Ptbxl(Benchmark):
    """Folds 1-8, 9 and 10 of the published table; label sets of Strodthoff et al. 2021, arXiv:2004.13701."""

    sources = ("ptbxl",)

    def folds(self, data: DataSet, rows: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return data.columns(["strat_fold"])["strat_fold"].to_numpy(dtype=np.int64)[rows]


class PtbxlLabels(Ptbxl):
    """A label set; a statement counts whatever its likelihood, and records without any are left out."""

    task: ClassVar[str]
    cfg: PtbxlLabelsConfig

    def targets(self, data: DataSet, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
        texts = data.columns(["scp_codes"])["scp_codes"].iloc[rows]
        codes = [parse_literal(text, "scp_codes") for text in texts]
        found = label_sets(codes, self.task, least=self.cfg.min_samples + 1)
        names = sorted(set().union(*found))
        return names, one_hot(found, names)


@register_benchmark("ptbxl/all", dataclass=PtbxlLabelsConfig)
class PtbxlAll(PtbxlLabels):
    """PTB-XL: all 71 statements."""

    task = "all"


@register_benchmark("ptbxl/diagnostic", dataclass=PtbxlLabelsConfig)
class PtbxlDiagnostic(PtbxlLabels):
    """PTB-XL: 44 diagnostic statements."""

    task = "diagnostic"


@register_benchmark("ptbxl/subdiagnostic", dataclass=PtbxlLabelsConfig)
class PtbxlSubdiagnostic(PtbxlLabels):
    """PTB-XL: 23 diagnostic subclasses."""

    task = "subdiagnostic"


@register_benchmark("ptbxl/superdiagnostic", dataclass=PtbxlLabelsConfig)
class PtbxlSuperdiagnostic(PtbxlLabels):
    """PTB-XL: five diagnostic superclasses."""

    task = "superdiagnostic"


@register_benchmark("ptbxl/form", dataclass=PtbxlLabelsConfig)
class PtbxlForm(PtbxlLabels):
    """PTB-XL: 19 statements on the form of the beats."""

    task = "form"


@register_benchmark("ptbxl/rhythm", dataclass=PtbxlLabelsConfig)
class PtbxlRhythm(PtbxlLabels):
    """PTB-XL: 12 rhythms."""

    task = "rhythm"


@register_benchmark("ptbxl/superdiagnostic_single", dataclass=PtbxlLabelsConfig)
class PtbxlSingle(PtbxlLabels):
    """PTB-XL: the superclass of records that have exactly one."""

    task = "superdiagnostic"
    kind = CLASSES


@register_benchmark("ptbxl/age")
class PtbxlAge(Ptbxl):
    """PTB-XL: the age in years."""

    kind = VALUES

    def targets(self, data: DataSet, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
        ages = data.columns(["age"])["age"].to_numpy(dtype=np.float64)[rows]
        hidden = ages >= HIDDEN_AGE
        if hidden.any():
            self.remarks.append(f"{int(hidden.sum())} records say no more than an age above 89; it counts as unknown")
        return ["age"], np.where(hidden, np.nan, ages)[:, None]


@register_benchmark("ptbxl/rr")
class PtbxlRr(Ptbxl):
    """PTB-XL: the median time between beats in ms, from the QRS complexes found in the record."""

    kind = VALUES

    def targets(self, data: DataSet, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
        return ["rr"], data.measured("rr", rr_interval)[rows, None]
