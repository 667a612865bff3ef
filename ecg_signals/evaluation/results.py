"""What an evaluation leaves in its folder: results by label with intervals, and one row per item."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ecg_signals.criteria.base import BaseCriterion
from ecg_signals.data.datasets.base import BaseDataset
from ecg_signals.evaluation.run import Answer, Rows
from ecg_signals.metrics.base import make_metrics
from ecg_signals.metrics.logits import CLASSES, COSINES, probabilities_of
from ecg_signals.metrics.results import Results, evaluate
from ecg_signals.runtime.nested import on_each
from ecg_signals.tables import write_table, write_text
from ecg_signals.tasks.base import BaseTask

FILE = "results.json"


class Answers:
    """Collects what a model answers to the items of one split, over all ranks.

    Args:
        dataset: the split; told to say whom its items are of.
        labels: names of the logits' columns, None: their numbers.
        kind: what the logits are, see metrics/logits.py.
        metrics: registered names; None: the usual ones of the kind.
        absent: what a label without a value counts in means, see metrics/results.py.
    Raises: UsageError for a metric that does not exist or cannot score the kind.
    """

    def __init__(
        self, dataset: BaseDataset, labels: list[str] | None, kind: str | None, metrics: Sequence[str] | None = None,
        absent: str = "skip",
    ) -> None:  # fmt: skip
        self.dataset, self.names, self.kind = dataset, labels, kind
        self.metrics, self.absent = metrics, absent
        make_metrics(metrics or (), kind)  # an error before the first batch, not behind the last one
        self.rows = Rows()
        dataset.with_owners = True

    def __call__(self, answer: Answer) -> None:
        """Keep what was answered to one batch, unless it has not one target per item, or per label."""
        logits, target, ids = answer.output.get("logits"), answer.batch.get("label"), answer.batch["id"].reshape(-1)
        if not isinstance(logits, Tensor) or not isinstance(target, Tensor) or self.kind in (None, COSINES):
            return
        if logits.dim() != 2 or len(target) != len(logits):
            return
        self.rows.add(ids, {
            "id": ids,
            "scores": probabilities_of(logits.detach().cpu().double(), self.kind),  # single precision saturates
            "targets": target.detach().cpu().double().reshape(len(ids), -1),
            "owner": answer.batch.get("owner", -1 - ids),
        })  # fmt: skip

    def finish(self, rounds: int = 0, seed: int = 0) -> "SplitResults | None":
        """Score everything that was collected; None when that is nothing."""
        found = self.rows.gathered()
        if not found:
            return None
        scores, targets = found["scores"], found["targets"]
        targets = class_numbers(targets) if self.kind == CLASSES else targets
        if self.kind != CLASSES and targets.shape != scores.shape:
            return None
        labels = self.names or [str(number) for number in range(scores.shape[1])]
        results = evaluate(
            scores, targets, labels, self.kind, metrics=self.metrics, owners=found["owner"], rounds=rounds, seed=seed,
            absent=self.absent,
        )  # fmt: skip
        return SplitResults(self.dataset, results, found["id"], found["owner"], scores, targets)


def printed(
    task: BaseTask, criterion: BaseCriterion, splits: Mapping[str, tuple[Any, "SplitResults | None"]],
    metrics: Sequence[str] | None,
) -> dict[str, float]:  # fmt: skip
    """The statistics of one subset: the criterion's, and the means of the metrics that a recipe names.

    Args:
        splits: split -> (logs, scores), and the results of its answers.
        metrics: registered names; one that the criterion prints something of is printed as `<name>_macro`.
    """
    stats = task.subset_metrics(criterion, {split: judged for split, (judged, _) in splits.items()})
    found = next((results for _, results in splits.values() if results), None)
    named = found.results.means if found else {}
    return stats | {f"{name}_macro" if name in stats else name: named[name] for name in metrics or () if name in named}


def undefined_labels(scores: Mapping[str, np.ndarray], labels: Sequence[str] | None) -> list[str]:
    """Labels that all known items have, or none of them, by a criterion's `logits` and `target`: without an AUROC."""
    if "target" not in scores or scores.get("logits", np.empty(0)).ndim != 2:
        return []
    target, count = scores["target"], scores["logits"].shape[1]
    known = target[target >= 0] if target.ndim == 1 else target
    table = known[:, None] == np.arange(count) if target.ndim == 1 else known
    defined = (table == 1).any(axis=0) & (table == 0).any(axis=0)
    names = labels or [str(number) for number in range(count)]
    return [name for name, whole in zip(names, defined) if not whole]


def class_numbers(targets: np.ndarray) -> np.ndarray:
    """[items, 1] class numbers, or [items, classes] of which one is 1 -> [items]; -1 where unknown."""
    if targets.shape[1] == 1:
        return np.nan_to_num(targets[:, 0], nan=-1).astype(np.int64)
    return np.where((targets == 1).sum(axis=1) == 1, (targets == 1).argmax(axis=1), -1)


def one_hot(classes: np.ndarray, count: int) -> np.ndarray:
    """[items] class numbers, negative where unknown -> [items, classes], NaN where unknown."""
    table = (classes[:, None] == np.arange(count)).astype(np.float64)
    return np.where(classes[:, None] >= 0, table, np.nan)


@dataclass
class SplitResults:
    """One split's results, and the answers behind them, in manifest order."""

    dataset: BaseDataset
    results: Results
    ids: np.ndarray
    owners: np.ndarray
    scores: np.ndarray
    targets: np.ndarray

    @property
    def resampled(self) -> str:
        """What the bootstrap draws: patients where any is known, else records."""
        return "patient" if (self.owners >= 0).any() else "record"

    def write(self, folder: Path, split: str) -> list[Path]:
        """`per_label_<split>.csv` and `predictions_<split>.csv`; text in them cannot run in a spreadsheet."""
        import pandas as pd

        paths = [folder / f"per_label_{split}.csv", folder / f"predictions_{split}.csv"]
        write_table(paths[0], pd.DataFrame(list(self.results.rows())))
        columns: dict[str, Any] = {"item": self.ids, "file": [self.dataset.name_of(int(item)) for item in self.ids]}
        if self.resampled == "patient":
            columns["patient"] = pd.array([owner if owner >= 0 else None for owner in self.owners], dtype="Int64")
        for number, label in enumerate(self.results.labels):
            columns[f"score {label}"] = self.scores[:, number]
        if self.targets.ndim == 1:
            columns["target"] = self.targets
        else:
            columns |= {f"target {label}": self.targets[:, k] for k, label in enumerate(self.results.labels)}
        write_table(paths[1], pd.DataFrame(columns))
        return paths

    def summary(self, rounds: int) -> dict[str, Any]:
        """For results.json."""
        return {
            "items": len(self.ids),
            "resampled": self.resampled,
            "groups": len(np.unique(self.owners)),
            "rounds": rounds,
            "means": self.results.summary(),
            "undefined": {metric: names for metric, names in self.results.undefined.items() if names},
            "labels": list(self.results.rows()),
        }


def write_results(folder: Path, content: Mapping[str, Any]) -> Path:
    """`results.json`; a number that is not defined becomes null."""
    text = json.dumps(plain_json(content), indent=2, ensure_ascii=False)
    write_text(folder / FILE, f"{text}\n")
    return folder / FILE


def plain_json(content: Mapping[str, Any]) -> Any:
    """As JSON can hold it: a number that is not defined becomes None."""
    return on_each(dict(content), (float, np.generic, Tensor), _plain)


def _plain(value: Any) -> Any:
    number = value if isinstance(value, float) else value.item()
    return number if not isinstance(number, float) or math.isfinite(number) else None
