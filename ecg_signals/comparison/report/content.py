"""What lies in a folder of ecg-eval, as benchmarks with the rows of their leaderboards, best first."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.comparison.protocols import PROTOCOLS
from ecg_signals.comparison.running import FAILED, PREDICTIONS, RESULT
from ecg_signals.comparison.tables import KEYS, kind_of
from ecg_signals.evaluation.benchmarks.base import owners
from ecg_signals.metrics.base import Metric, make_metrics
from ecg_signals.metrics.logits import LABELS, VALUES, values_behind
from ecg_signals.readers.npy_file import load_npz

NAMES = {"auroc": "AUROC", "auprc": "AUPRC", "fmax": "Fmax", "ece": "ECE", "brier": "Brier", "f2": "F2", "g2": "G2",
         "cinc_score": "CinC score", "balanced_accuracy": "balanced accuracy", "exact_match": "exact match",
         "merl_reported": "MERL: best test AUROC",
         "merl_val": "MERL: AUROC at the best validation", "merl_fixed": "MERL repaired: AUROC",
         "mae": "mean absolute error", "rmse": "RMSE", "r2": "R²"}  # fmt: skip


@dataclass(frozen=True)
class Answers:
    """What one run answered to a test split: scores and targets [records, labels], the rest [records]."""

    labels: list[str]
    scores: np.ndarray
    targets: np.ndarray
    ids: np.ndarray
    files: np.ndarray
    owners: np.ndarray  # patients, or records where they are unknown
    patients: int  # known ones

    @classmethod
    def read(cls, path: Path, columns: slice = slice(None)) -> "Answers":
        """Those of some columns."""
        found = load_npz(path)
        ids, patients = found["ids"], found["patients"]
        known = len(np.unique(patients[patients != ""]))
        labels, scores, targets = found["labels"].tolist(), found["scores"], found["targets"]
        return cls(labels[columns], scores[:, columns], targets[:, columns], ids, found["files"],
                   owners(patients, ids), known)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """A row of a leaderboard: one model under one protocol with one part of the training data.

    Attributes:
        row: of the summary in results.json.
        results: of its seeds, with the folders that hold their answers.
        columns: of the answers that are shown.
    """

    row: Mapping[str, Any]
    results: list[tuple[Path, Mapping[str, Any]]]
    columns: slice = field(default_factory=lambda: slice(None))

    @property
    def first(self) -> Mapping[str, Any]:
        return self.results[0][1]

    @property
    def name(self) -> str:
        return f"{self.row['model']}, {self.row['protocol']}"

    @property
    def value(self) -> float | None:
        """Mean of the leading metric over seeds; None where no label defines it."""
        found: float | None = self.row["mean"].get(self.row["lead"])
        return found

    @property
    def deviation(self) -> float | None:
        """Of the seeds; None of a single one."""
        found: float | None = self.row["std"].get(self.row["lead"])
        return found

    @property
    def trained(self) -> bool:
        """Whether the run trained it; what a model that is tested as it is has seen is not known."""
        return PROTOCOLS[self.row["protocol"]].trains

    @property
    def training_records(self) -> int:
        return int(self.first["counts"]["train"])

    @cached_property
    def answers(self) -> dict[int, Answers]:
        """By seed."""
        read = {int(result["seed"]): folder / PREDICTIONS for folder, result in self.results}
        return {seed: Answers.read(path, self.columns) for seed, path in read.items()}

    @property
    def one(self) -> Answers:
        """Of the first seed, which curves and examples show."""
        return next(iter(self.answers.values()))


@dataclass(frozen=True)
class Section:
    """A benchmark that models were trained on, and the one that they were tested on.

    Attributes:
        entries: with most training data first, and of these the best first.
        published: numbers of papers on it.
        part: the kind of the columns that are shown, where they are not all.
    """

    benchmark: str
    test_on: str
    entries: list[Entry]
    published: list[Mapping[str, Any]]
    part: str = ""

    @property
    def title(self) -> str:
        return self.benchmark if self.test_on == self.benchmark else f"{self.benchmark}, tested on {self.test_on}"

    @property
    def kind(self) -> str:
        return self.part or kind_of(self.entries[0].first)

    @property
    def parts(self) -> list["Section"]:
        """Its labels, then its values, where it has both; else itself."""
        count = values_behind(self.kind)
        both = ((LABELS, slice(None, -count)), (VALUES, slice(-count, None)))
        return [replace(self, entries=[replace(entry, columns=columns) for entry in self.entries], part=part)
                for part, columns in both] if count else [self]  # fmt: skip

    @property
    def lead(self) -> str:
        return str(self.entries[0].row["lead"])

    @property
    def lead_name(self) -> str:
        return NAMES.get(self.lead, self.lead) if self.kind == VALUES else f"macro {NAMES.get(self.lead, self.lead)}"

    @property
    def decimals(self) -> int:
        """Of values of the leading metric."""
        return 2 if self.kind == VALUES else 3

    @property
    def metric(self) -> Metric:
        return make_metrics([self.lead], self.kind)[self.lead]

    @property
    def full(self) -> list[Entry]:
        """Those with most training data that have a value."""
        largest = self.entries[0].row["fraction"]
        return [entry for entry in self.entries if entry.row["fraction"] == largest and entry.value is not None]

    @property
    def by_model(self) -> list[Entry]:
        """Every model's best one."""
        found: dict[str, Entry] = {}
        for entry in self.full:
            found.setdefault(entry.row["model"], entry)
        return list(found.values())


@dataclass(frozen=True)
class Content:
    """
    Attributes:
        failed: folder of a run -> why.
        missing: folders of runs that are planned and have no result yet.
    """

    sections: list[Section]
    failed: dict[str, str]
    missing: list[str]


def read_content(out: Path, results: Mapping[str, Any]) -> Content:
    """
    Args:
        results: the content of results.json.
    """
    runs: dict[tuple[str, ...], list[tuple[Path, Mapping[str, Any]]]] = {}
    for path in (out / "runs").rglob(RESULT):
        result = json.loads(path.read_text())
        runs.setdefault(key_of(result), []).append((path.parent, result))
    entries: dict[tuple[str, str], list[Entry]] = {}
    for row in results["summary"]:
        own = sorted(runs[key_of(row)], key=lambda one: one[1]["seed"])
        entries.setdefault((row["benchmark"], row["test_on"]), []).append(Entry(row, own))
    sections = [
        Section(*key, _ordered(own), [row for row in results["published"] if row["benchmark"] == key[0] == key[1]])
        for key, own in entries.items()
    ]
    return Content(sections, dict(results["failed"]), sorted(_missing(out)))


def key_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(row[key] for key in KEYS)


def _ordered(entries: list[Entry]) -> list[Entry]:
    """Models lose few records of a part to their input contracts: what orders parts is the largest count of each."""
    section = Section("", "", entries, [])
    sign = -1.0 if section.metric.higher_is_better else 1.0
    sizes: dict[str, int] = {}
    for entry in entries:
        part = entry.row["fraction"]
        sizes[part] = max(sizes.get(part, 0), entry.training_records)

    def place(entry: Entry) -> tuple[int, str, float, str]:
        value = np.inf if entry.value is None else sign * entry.value
        return -sizes[entry.row["fraction"]], entry.row["fraction"], value, entry.name

    return sorted(entries, key=place)


def _missing(out: Path) -> Iterator[str]:
    """The folders that manifests were written for, without a result or a reason for none."""
    for path in (out / "splits").rglob("counts.json"):
        run = out / "runs" / path.parent.relative_to(out / "splits")
        if "test_on" not in path.parts and not (run / RESULT).is_file() and not (run / FAILED).is_file():
            yield str(run.relative_to(out))


def positives(entry: Entry, label: str) -> tuple[int, int]:
    """Test records with a label, and without it."""
    row = entry.first["per_label"][label]
    return int(row["positives"]), int(row["known"]) - int(row["positives"])


def number(value: float | None, decimals: int = 3) -> str:
    return "–" if value is None or not np.isfinite(value) else f"{value:.{decimals}f}".replace("-", "−")


def plus_minus(value: float | None, deviation: float | None, decimals: int = 3) -> str:
    return number(value, decimals) + ("" if deviation is None else f" ± {number(deviation, decimals)}")


def count(number: int, thing: str) -> str:
    """ "1 record", "1,200 records"."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")
