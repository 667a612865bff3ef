"""What a benchmark is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.evaluation.benchmarks.data import DataSet
from ecg_signals.metrics.base import Metric, make_metrics
from ecg_signals.metrics.challenge import g_beta_thresholds, youden_thresholds
from ecg_signals.metrics.logits import CLASSES, LABELS, VALUES, has_values, values_behind
from ecg_signals.preprocess.stratify import stratified_folds
from ecg_signals.tables import Table

SPLITS = ("train", "valid", "test")
_OF_LABELS = ("auroc", "auprc", "fmax", "max_f1", "f1_score", "recall", "precision", "specificity", "ece", "brier")
METRICS = {
    LABELS: _OF_LABELS,
    CLASSES: ("accuracy", *_OF_LABELS),
    VALUES: ("mae", "rmse", "r2"),
}


@dataclass(frozen=True)
class Tuning:
    """How the threshold of a label is chosen, above which it is predicted.

    Attributes:
        split: on whose records.
        best: targets and scores [records, labels] -> thresholds [labels].
        fallback: of a record without any label the likeliest is predicted.
    """

    split: str
    best: Callable[[np.ndarray, np.ndarray], np.ndarray]
    fallback: bool


G2_ON_TRAINING = Tuning("train", g_beta_thresholds, True)  # as published for CPSC 2018
BALANCE_ON_VALIDATION = Tuning("valid", youden_thresholds, False)  # the best balanced accuracy


@dataclass
class Examples:
    """The records of a benchmark, in the order in which parts of them are drawn.

    Attributes:
        labels: names of the columns of `targets`.
        rows: [records] in meta.csv.
        targets: [records, labels] of 0 and 1, or values; NaN where unknown. Of classes one is 1.
        folds: [records] from 1 on.
        split: [records], of SPLITS.
        patients: [records] "" where unknown.
        remarks: what was left out or assumed, with counts.
    """

    labels: list[str]
    rows: np.ndarray
    targets: np.ndarray
    folds: np.ndarray
    split: np.ndarray
    patients: np.ndarray
    remarks: list[str] = field(default_factory=list)

    def of(self, records: np.ndarray) -> "Examples":
        """Some of the records, by their places or as bool [records]."""
        names = ("rows", "targets", "folds", "split", "patients")
        return replace(self, **{name: getattr(self, name)[records] for name in names})


class Benchmark(ABC):
    """Extend it, write `targets`, and name it with `@register_benchmark("name")`; `ecg-eval benchmark=name` finds it.

    Class attributes:
        sources: data sets of ecg-preprocess that hold its records, any of which will do.
        kind: what is predicted, see metrics/logits.py.
        keeps_unlabelled: a record without any label is scored, too.
        stratify_by: columns of meta.csv by which folds are stratified beside the labels.
        ages: years at which the age groups of stratified folds begin.
        valid_fold, test_fold: that are not trained on.
        tuning: how thresholds are chosen; None: 0.5.
        first_seconds: of a record that are read, zeros behind them up to a model's window; None: the whole record.
        comparable: with which published numbers its results can be compared, one line; "": nothing to say.
    """

    sources: ClassVar[tuple[str, ...]]
    kind: str = LABELS
    keeps_unlabelled: ClassVar[bool] = False
    stratify_by: ClassVar[tuple[str, ...]] = ()
    ages: ClassVar[tuple[int, ...]] = (20, 40, 60, 80)
    valid_fold: ClassVar[int] = 9
    test_fold: ClassVar[int] = 10
    tuning: ClassVar[Tuning | None] = None
    first_seconds: ClassVar[float | None] = None
    comparable: ClassVar[str] = ""

    def __init__(self, cfg: Any) -> None:
        self.cfg = cfg
        self.remarks: list[str] = []

    def chosen(self, meta: Table) -> np.ndarray:
        """Bool [records]: those of meta.csv that belong to it."""
        return np.ones(len(meta), dtype=bool)

    def rows(self, data: DataSet) -> np.ndarray:
        """Of meta.csv, those that belong to it; in the order of published tables where parts are drawn by that."""
        return np.flatnonzero(self.chosen(data.meta))

    @abstractmethod
    def targets(self, data: DataSet, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
        """Names of the labels and their values [rows, labels], NaN where unknown, of some rows of meta.csv.

        Raises: ConfigError where the data set does not hold what they are made of.
        """

    def folds(self, data: DataSet, rows: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """[rows] from 1 to `test_fold`: stratified by the labels, a patient's records together."""
        return self.stratified(data, rows, targets, self.test_fold)

    def stratified(self, data: DataSet, rows: np.ndarray, targets: np.ndarray, count: int) -> np.ndarray:
        """[rows] from 1 to `count`, seed 0.

        Source: Strodthoff et al. 2021, arXiv:2004.13701, for CPSC 2018.
        """
        meta = data.meta.iloc[rows]
        extra = [self.stratum(meta[name].to_numpy(dtype=float), name)
                 for name in self.stratify_by if name in meta.columns]  # fmt: skip
        patients, group = np.unique(owners(known_patients(meta), meta["idx"]), return_inverse=True)
        labels: list[list[str]] = [[] for _ in patients]
        for row, own in enumerate(group):
            labels[own] += [str(column) for column in np.flatnonzero(targets[row] == 1)] + [one[row] for one in extra]
        found = stratified_folds(labels, [1 / count] * count, np.bincount(group).tolist())[group]
        return np.where(found < 0, 1, found + 1)  # what has no label is trained on

    def stratum(self, values: np.ndarray, name: str) -> list[str]:
        """The group of every value, a label among others: ages by `ages`, other columns by value."""
        groups = np.digitize(values, self.ages) if name == "age" else values
        return [f"{name} unknown" if value != value else f"{name} {group:g}" for value, group in zip(values, groups)]

    def examples(self, data: DataSet) -> Examples:
        """All of it. Raises: ConfigError when no record is left, or none to train, select or test on."""
        self.remarks = [self.comparable] if self.comparable else []
        rows = self.rows(data)
        labels, targets = self.targets(data, rows)
        kept = self.kept(targets)
        if not kept.all():
            self.remarks.append(f"{int((~kept).sum())} of {len(kept)} records are left out: {self.unlabelled}")
        rows, targets = rows[kept], targets[kept]
        if not len(rows):
            raise ConfigError(f"no record of {data.folder} has a label of this benchmark; is it the right data set?")
        folds = self.folds(data, rows, targets)
        split = np.where(folds == self.test_fold, "test", np.where(folds == self.valid_fold, "valid", "train"))
        empty = [name for name in SPLITS if name not in split]
        if empty:
            raise ConfigError(
                f"{len(rows)} records of {data.folder} belong to this benchmark, but none to {', '.join(empty)} (folds "
                f"{sorted(set(folds.tolist()))}; {self.valid_fold} is valid, {self.test_fold} test); give more of it"
            )
        patients = known_patients(data.meta.iloc[rows])
        return Examples(labels, rows, targets, folds, split, patients, self.remarks)

    @property
    def unlabelled(self) -> str:
        """Why a record is left out."""
        return {LABELS: "they have none of the labels", CLASSES: "they have not exactly one of the classes"}.get(
            self.kind, "the value is not known"
        )

    def baselines(self, data: DataSet, examples: Examples) -> dict[str, np.ndarray]:
        """What answers without a model: name -> values [records, labels], finite at least in the test split.

        Args:
            examples: the part that a model trains on, and all records of the other splits.
        """
        if not has_values(self.kind):
            return {}
        middle = np.nanmedian(examples.targets[examples.split == "train"], axis=0)
        count = values_behind(self.kind)
        middle[: len(middle) - count if count else 0] = 0.5  # labels
        return {"train median": np.broadcast_to(middle, examples.targets.shape)}

    def metrics(self, labels: Sequence[str]) -> Mapping[str, Metric]:
        """What is scored."""
        both = (*METRICS[LABELS], *METRICS[VALUES])
        return make_metrics(both if values_behind(self.kind) else METRICS[self.kind], self.kind)

    def write_outputs(
        self, folder: Path, records: Sequence[str], labels: Sequence[str], predicted: np.ndarray, scores: np.ndarray
    ) -> Path | None:
        """Answers in the form in which a published scorer reads them, where there is one.

        Args:
            records: names of the records' files.
            predicted, scores: [records, labels].
        Returns: where they are, below `folder`.
        """
        return None

    def kept(self, targets: np.ndarray) -> np.ndarray:
        """Bool [records] whether they count."""
        if has_values(self.kind) or self.keeps_unlabelled:
            return ~np.isnan(targets).all(axis=1)
        count = (targets == 1).sum(axis=1)
        return count == 1 if self.kind == CLASSES else count > 0


def one_hot(found: Sequence[set[str]], names: Sequence[str]) -> np.ndarray:
    """[records, names] of 0 and 1."""
    return np.array([[name in own for name in names] for own in found], dtype=np.float64).reshape(
        len(found), len(names)
    )


def owners(patients: np.ndarray, records: Iterable[object]) -> np.ndarray:
    """[records] the patient, or the record itself where that is not known, "".

    Args:
        records: their names or numbers.
    """
    return np.where(patients == "", [f"record {record}" for record in records], patients)


def known_patients(meta: Table) -> np.ndarray:
    """[records] the patient as text, "" where unknown."""
    if "patient_id" not in meta.columns:
        return np.full(len(meta), "", dtype="U1")
    return np.array(["" if value != value else str(value).removesuffix(".0") for value in meta["patient_id"]])
