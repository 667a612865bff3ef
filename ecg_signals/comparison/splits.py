"""A benchmark's records as manifests and a table of labels, which a training reads."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ecg_signals.comparison.signals import Prepared
from ecg_signals.config import ConfigError
from ecg_signals.evaluation.benchmarks.base import SPLITS, Examples
from ecg_signals.files import replacing
from ecg_signals.metrics.logits import VALUES, values_behind
from ecg_signals.tables import write_text


@dataclass(frozen=True)
class Part:
    """How much of the training split is used.

    Attributes:
        fraction: of its records, drawn by the seed; smaller parts lie within larger ones.
        folds: that many of its folds, the first ones; None: all.
        drawn_by: the fraction is drawn as by scikit-learn's train_test_split with this random_state; None: by the seed.
    """

    fraction: float = 1.0
    folds: int | None = None
    drawn_by: int | None = None

    @property
    def name(self) -> str:
        return f"{self.fraction:g}" if self.folds is None else f"folds{self.folds}"

    def of(self, examples: Examples, seed: int) -> Examples:
        """The examples with that part of the training split. Raises: ConfigError for folds that it does not have."""
        train = np.flatnonzero(examples.split == "train")
        if self.folds is not None:
            there = np.unique(examples.folds[train])
            if self.folds > len(there):
                raise ConfigError(f"folds={self.folds}, but the training split has {len(there)}; set 1 to {len(there)}")
            kept = train[np.isin(examples.folds[train], there[: self.folds])]
        elif self.drawn_by is not None and self.fraction < 1:
            order = np.random.RandomState(self.drawn_by).permutation(len(train))
            kept = train[order[len(train) - max(1, int(self.fraction * len(train))) :]]
        else:
            order = np.random.default_rng(seed).permutation(len(train))
            kept = train[order[: max(1, round(self.fraction * len(train)))]]
        return examples.of(np.union1d(kept, np.flatnonzero(examples.split != "train")))


def in_columns(examples: Examples, labels: Sequence[str]) -> Examples:
    """The targets in the columns of a model's labels, NaN where the benchmark does not know a label."""
    targets = np.full((len(examples.rows), len(labels)), np.nan)
    for column, label in enumerate(labels):
        if label in examples.labels:
            targets[:, column] = examples.targets[:, examples.labels.index(label)]
    return replace(examples, labels=list(labels), targets=targets)


def scale_of(examples: Examples, kind: str) -> tuple[list[float], list[float]]:
    """Mean and deviation of the training targets, by which values are standardised; 0 and 1 of anything else."""
    train = examples.targets[examples.split == "train"]
    count = train.shape[1] if kind == VALUES else values_behind(kind)
    values = train[:, train.shape[1] - count :]
    deviation, others = np.nanstd(values, axis=0), train.shape[1] - count
    means = [0.0] * others + np.nanmean(values, axis=0).tolist()
    return means, [1.0] * others + np.where(deviation > 0, deviation, 1.0).tolist()


def write_splits(
    folder: Path, examples: Examples, prepared: Prepared, names: Sequence[str], scale: tuple[list[float], list[float]]
) -> dict[str, int]:
    """train.tsv, valid.tsv, test.tsv, y.npy and label_def.csv, in manifest order of `examples`.

    Args:
        names: file of every row of meta.csv.
        scale: mean and deviation by which targets are standardised.
    Returns: records of every split.
    """
    examples = examples.of(np.flatnonzero([row in prepared.samples for row in examples.rows.tolist()]))
    counts = {}
    for split in SPLITS:
        rows = examples.rows[examples.split == split].tolist()
        lines = [f"{names[row]}\t{prepared.samples[row]}\n" for row in rows]
        counts[split] = len(lines)
        if lines:
            write_text(folder / f"{split}.tsv", f"{prepared.folder.resolve()}\n{''.join(lines)}")
    table = np.full((int(examples.rows.max()) + 1, len(examples.labels)), np.nan)
    table[examples.rows] = (examples.targets - scale[0]) / scale[1]
    with replacing(folder / "y.npy") as partial, partial.open("wb") as file:
        np.save(file, table)
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([["name"], *([label] for label in examples.labels)])
    write_text(folder / "label_def.csv", text.getvalue())
    return counts
