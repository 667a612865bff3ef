"""Segments as records: what stands in a table of labels, and the headline, from what `ecg-validate` extracted."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from ecg_signals.evaluation.report.page import LabelScore
from ecg_signals.metrics.calibrated import Calibration
from ecg_signals.metrics.logits import LABELS, joined_logits
from ecg_signals.metrics.results import Results, evaluate

LEAST = 5  # records that must have a label, and as many that must lack it, before the headline counts it
ROUNDS = 1000  # of the bootstrap


def by_record(
    files: Sequence[str], outputs: np.ndarray, targets: np.ndarray, calibration: Calibration | None = None
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names of the records, their probabilities [records, labels] and targets, from logits [segments, labels].

    A record's probability is the mean over its segments, as `ecg-predict` says it: of the plain sigmoid, or calibrated.
    """
    stems = [name.rsplit("_", 1)[0] for name in files]
    names, first, record = np.unique(stems, return_index=True, return_inverse=True)
    logits = torch.from_numpy(outputs.astype(np.float64))
    free = logits if calibration is None else calibration.of_windows(logits)
    joined = torch.stack([joined_logits(free[record == number], "mean", LABELS) for number in range(len(names))])
    own = joined if calibration is None else calibration.of_record(joined)
    return list(names), own.sigmoid().numpy(), targets[first]


def measurable(targets: np.ndarray) -> np.ndarray:
    """[labels]: whether LEAST records have the label and LEAST lack it."""
    return np.minimum((targets == 1).sum(axis=0), (targets == 0).sum(axis=0)) >= LEAST


def measure(
    names: Sequence[str], probabilities: np.ndarray, targets: np.ndarray, patients: np.ndarray
) -> tuple[Results, Results]:
    """Both areas of every label, and of the measurable ones, whose mean is the headline, with 95 % intervals.

    Patients are drawn with replacement, each with all records.
    """
    chosen = np.flatnonzero(measurable(targets)).tolist()
    found = [
        evaluate(
            probabilities[:, columns],
            targets[:, columns],
            [names[column] for column in columns],
            LABELS,
            metrics=("auroc", "auprc"),
            owners=patients,
            rounds=ROUNDS,
        )
        for columns in (list(range(len(names))), chosen)
    ]
    return found[0], found[1]


def label_scores(
    data: Path, names: list[str], probabilities: np.ndarray, targets: np.ndarray, meanings: Mapping[str, str]
) -> tuple[list[LabelScore], Results]:
    """One row per label, and the results of the headline, from [records, labels] of the test split.

    Args:
        data: the folder that `ecg-preprocess` wrote.
        names: of the records.
        meanings: label -> what it stands for, where that is known.
    """
    with (data / "meta_split.csv").open(newline="") as file:
        patient = {Path(row["save_file"]).stem: row["patient_id"] for row in csv.DictReader(file)}
    with (data / "labels/label_def.csv").open(newline="") as file:
        train = {row["name"]: int(float(row["pos_count_train"])) for row in csv.DictReader(file)}
    owners = np.array([patient[name] for name in names])
    found, headline = measure(list(train), probabilities, targets, owners)
    spans = {label: (float(low), float(high)) for label, low, high in zip(headline.labels, *headline.ends["auroc"])}
    scores = [
        LabelScore(
            name,
            meanings.get(name, ""),
            train[name],
            int(positives),
            None if np.isnan(auroc) else float(auroc),
            None if np.isnan(auprc) else float(auprc),
            spans.get(name),
        )
        for name, positives, auroc, auprc in zip(train, found.positives, *found.values.values())
    ]
    return scores, headline
