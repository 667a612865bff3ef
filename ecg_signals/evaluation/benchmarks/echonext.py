"""EchoNext: eleven findings of an echocardiogram, and the first of them, a weak left ventricle, alone."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from ecg_signals.evaluation.benchmarks.base import BALANCE_ON_VALIDATION, Benchmark
from ecg_signals.evaluation.benchmarks.data import DataSet
from ecg_signals.metrics.base import Metric, make_metrics
from ecg_signals.preprocess.datasets.echonext import FINDINGS, column_of
from ecg_signals.registry import register_benchmark
from ecg_signals.tables import Table


class Echonext(Benchmark):
    """The published splits; folds 1-8 of the training split are stratified by finding, a patient's records together."""

    sources = ("echonext",)
    keeps_unlabelled = True
    findings: ClassVar[tuple[str, ...]] = FINDINGS

    def chosen(self, meta: Table) -> np.ndarray:
        return meta["split"].isin(("train", "val", "test")).to_numpy()

    def targets(self, data: DataSet, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
        columns = [column_of(name) for name in self.findings]
        return list(self.findings), data.columns(columns)[columns].to_numpy(dtype=np.float64)[rows]

    def folds(self, data: DataSet, rows: np.ndarray, targets: np.ndarray) -> np.ndarray:
        split = data.columns(["split"])["split"].iloc[rows].to_numpy()
        folds = np.select([split == "val", split == "test"], [self.valid_fold, self.test_fold], 1)
        train = np.flatnonzero(split == "train")
        folds[train] = self.stratified(data, rows[train], targets[train], self.valid_fold - 1)
        return folds


@register_benchmark("echonext/all")
class EchonextAll(Echonext):
    """EchoNext: eleven findings of an echocardiogram; records without any are scored, too."""

    comparable = "EchoNext's own split; its samples are z-scores of the whole data set, whatever a model takes"


@register_benchmark("echonext/lvef45")
class EchonextLvef(Echonext):
    """EchoNext: ejection fraction of 45 % or less; balanced accuracy at the threshold that validation chose."""

    findings = FINDINGS[:1]
    tuning = BALANCE_ON_VALIDATION
    comparable = "EchoNext's cut-off is 45 %: numbers published for LVEF of 40 % or less are of other data and tasks"

    def metrics(self, labels: Sequence[str]) -> Mapping[str, Metric]:
        return {**super().metrics(labels), **make_metrics(("balanced_accuracy",), self.kind)}
