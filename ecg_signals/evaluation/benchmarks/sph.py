"""SPH: primary AHA statements of ten records or more."""

import numpy as np

from ecg_signals.data.ptbxl_statements import frequent
from ecg_signals.evaluation.benchmarks.base import Benchmark, one_hot
from ecg_signals.evaluation.benchmarks.challenge import HospitalConfig
from ecg_signals.evaluation.benchmarks.data import DataSet
from ecg_signals.preprocess.datasets.sph import primary_statements
from ecg_signals.registry import register_benchmark


@register_benchmark("sph", dataclass=HospitalConfig)
class Sph(Benchmark):
    """SPH: primary AHA statements of ten records or more; folds by patient, stratified by statement, sex and age."""

    sources = ("sph",)
    stratify_by = ("sex", "age")
    cfg: HospitalConfig

    def targets(self, data: DataSet, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
        texts = data.columns(["AHA_Code"])["AHA_Code"].iloc[rows].fillna("").astype(str)
        found = frequent([set(primary_statements(text)) for text in texts], self.cfg.min_records)
        names = sorted(set().union(*found), key=int)
        return names, one_hot(found, names)
