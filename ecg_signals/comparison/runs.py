"""A training and its tests, and a plan of many."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ecg_signals.comparison.models import Compared
from ecg_signals.comparison.protocols import Preset
from ecg_signals.comparison.splits import Part
from ecg_signals.evaluation.benchmarks.base import Benchmark, Examples
from ecg_signals.evaluation.benchmarks.data import DataSet
from ecg_signals.metrics.logits import CLASSES, LABELS, VALUES, values_behind

Judged = tuple[dict[str, Any], tuple[str, bool], str]  # settings of the criterion, the score that selects, what leads
JUDGED: dict[str, Judged] = {  # by what is predicted
    LABELS: ({"_name": "binary_cross_entropy_with_logits", "report_auc": True}, ("auroc", True), "auroc"),
    CLASSES: ({"_name": "multi_class"}, ("auroc", True), "auroc"),
    VALUES: ({"_name": "mse"}, ("loss", False), "mae"),
}


@dataclass(frozen=True)
class Task:
    """A benchmark and its records."""

    name: str
    benchmark: Benchmark
    data: DataSet
    examples: Examples


@dataclass(frozen=True)
class Test:
    """What a trained model is tested on: `columns` of its labels, of a task's test split, results in `folder`."""

    task: Task
    folder: Path
    columns: list[int]


@dataclass(frozen=True)
class Run:
    """One training and its tests.

    Attributes:
        task, protocol, model, part, seed: what it is, the protocol by its name.
        folder: of its files.
        after: the run that it starts from.
        sections: of its recipe, without the paths of its data.
        examples: that it trains on.
        scale: mean and deviation of its targets.
        tests: the benchmark's own first.
        settings: all that decides about its result.
    """

    task: Task
    protocol: str
    model: Compared
    part: Part
    seed: int
    folder: Path
    after: "Run | None"
    sections: dict[str, Any]
    examples: Examples
    scale: tuple[list[float], list[float]]
    tests: list[Test]
    preset: Preset
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def labels(self) -> list[str]:
        return self.examples.labels

    @property
    def kind(self) -> str:
        return self.task.benchmark.kind

    @property
    def name(self) -> str:
        return f"{self.task.name} {self.protocol} {self.model.name} {self.part.name} seed {self.seed}"


@dataclass(frozen=True)
class Plan:
    """All runs, those that others start from first; `notes` is what there is to say before."""

    runs: list[Run]
    notes: list[str]


def judged(kind: str) -> Judged:
    """How a kind of benchmark is trained and selected, and the metric that stands for it."""
    count = values_behind(kind)
    both: Judged = ({"_name": "labels_and_values", "values": count}, ("selection", False), "auroc")
    return both if count else JUDGED[kind]


def lead_metric(kind: str) -> str:
    """The metric that stands for a kind of benchmark."""
    return judged(kind)[2]
