"""The score of the PhysioNet/CinC Challenges 2020 and 2021: confusions weighted by how alike their treatment is."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ecg_signals.config import ConfigError, listed, resolve_input
from ecg_signals.metrics.base import Metric, Scored
from ecg_signals.metrics.cinc_codes import EQUIVALENT, SINUS_RHYTHM, codes_of
from ecg_signals.metrics.logits import LABELS
from ecg_signals.tables import read_rows


def read_score_weights(path: str | Path) -> tuple[list[str], np.ndarray]:
    """Classes (equivalent codes joined by `|`) and weights [classes, classes] of a Challenge weights file.

    Raises: ConfigError when the file is missing, or not a square table with equal row and column names.
    """
    file = resolve_input(path)
    if not file.is_file():
        raise ConfigError(
            f"criterion.weights_file={path} does not exist; set it to weights.csv of the PhysioNet/CinC Challenge 2021"
        )
    rows = [[cell.strip() for cell in row] for row in read_rows(file) if any(cell.strip() for cell in row)]
    if not rows:
        raise ConfigError(f"{path} is empty; expected a table whose first row and first column name the classes")
    classes, table = rows[0][1:], rows[1:]
    if [row[0] for row in table] != classes or any(len(row) != len(classes) + 1 for row in table):
        raise ConfigError(
            f"{path} has {len(table)} rows and {len(classes)} columns of weights; expected a square table with the "
            f"same class names, in the same order, in the first row and the first column"
        )
    try:
        weights = np.array([[float(cell) for cell in row[1:]] for row in table], dtype=np.float64)
    except ValueError as error:
        raise ConfigError(f"{path} holds a weight that is not a number ({error}); expected numbers only") from None
    if not np.isfinite(weights).all():
        raise ConfigError(f"{path} holds a weight that is not finite; expected numbers only")
    return classes, weights


def join_equivalent(classes: list[str], weights: np.ndarray) -> tuple[list[str], np.ndarray]:
    """A table with a row for each of two equivalent codes, as of 2020, with one row `A|B` in place of the first.

    Raises: ConfigError when their weights differ.
    """
    names, kept = list(classes), list(range(len(classes)))
    for pair in EQUIVALENT:
        if all(code in classes for code in pair):
            first, second = sorted(map(classes.index, pair))
            if (weights[first] != weights[second]).any() or (weights[:, first] != weights[:, second]).any():
                raise ConfigError(f"the weights of {' and '.join(pair)}, one condition, differ; give them equal ones")
            names[first] = "|".join(pair)
            kept.remove(second)
    return [names[row] for row in kept], weights[np.ix_(kept, kept)]


def class_positions(classes: Sequence[str], labels: Sequence[str]) -> list[int | None]:
    """Where the classes have each label, by name or by any of their joined codes; None: nowhere."""
    position = {code: number for number, name in enumerate(classes) for code in (name, *name.split("|"))}
    return [position.get(label, position.get(label.partition("|")[0])) for label in labels]


def encode_diagnoses(texts: Iterable[object], classes: Sequence[str]) -> np.ndarray:
    """bool [records, classes] of the headers' `Dx` lines; codes that are in no class are left out."""
    rows = [class_positions(classes, sorted(codes_of(text))) for text in texts]
    table = np.zeros((len(rows), len(classes)), dtype=bool)
    for row, found in zip(table, rows):
        row[[number for number in found if number is not None]] = True
    return table


def sinus_rhythm_index(classes: list[str], path: str | Path) -> int:
    """Position of normal sinus rhythm. Raises: ConfigError when no class has its code."""
    for index, name in enumerate(classes):
        if SINUS_RHYTHM in name.split("|"):
            return index
    raise ConfigError(
        f"{path} has no class {SINUS_RHYTHM} (normal sinus rhythm), which the score is measured from; use the "
        f"Challenge's weights.csv"
    )


def weighted_agreement(weights: Tensor, labels: Tensor, outputs: Tensor) -> Tensor:
    """Sum over items of the weights of all (label, output) pairs, divided by how many classes either names.

    weights [classes, classes]; labels, outputs bool [items, classes] -> scalar of the weights' type.
    """
    size = (labels | outputs).sum(dim=1).clamp(min=1)
    pairs = (labels.to(weights) @ weights * outputs.to(weights)).sum(dim=1)
    return (pairs / size).sum()


def score_terms(weights: Tensor, sinus: int | None, labels: Tensor, outputs: Tensor) -> dict[str, Tensor]:
    """Summable terms of the score: observed, correct (all right) and inactive (always sinus rhythm; 0 without it)."""
    inactive = torch.zeros_like(outputs)
    if sinus is not None:
        inactive[:, sinus] = True
    return {
        "o_score": weighted_agreement(weights, labels, outputs),
        "c_score": weighted_agreement(weights, labels, labels),
        "i_score": weighted_agreement(weights, labels, inactive),
    }


def challenge_score(observed: float, correct: float, inactive: float) -> float:
    """1 when all is right, 0 for always answering sinus rhythm (or when that is all there is to say)."""
    if math.isclose(correct, inactive):
        return 0.0
    return (observed - inactive) / (correct - inactive)


def cinc_score(targets: np.ndarray, predicted: np.ndarray, weights: np.ndarray, sinus: int | None) -> float:
    """The score: 1 when all is right, 0 for always answering sinus rhythm.

    Several conditions in a record let many answers pass, so that answering everything may score well: choose no
    threshold by it alone.

    Args:
        targets, predicted: bool [records, classes]; pairs that are not known are False in both.
        weights: [classes, classes].
        sinus: position of normal sinus rhythm.
    """
    terms = score_terms(torch.from_numpy(weights), sinus, torch.from_numpy(targets), torch.from_numpy(predicted))
    return challenge_score(*map(float, terms.values()))


class CincScore(Metric):
    """The Challenge's score of what is predicted. Not registered: it needs the weights, and names of the labels.

    Attributes:
        ignored: labels that the table of weights does not score.
    """

    kinds = (LABELS,)
    of_set = True

    def __init__(self, path: str | Path, labels: Sequence[str]) -> None:
        """
        Args:
            path: the Challenge's weights.csv, of 2020 or 2021.
            labels: names of the columns, SNOMED CT codes; columns of one class are joined by "or".
        Raises: ConfigError for a table that is none, or scores no label.
        """
        self.classes, self.weights = join_equivalent(*read_score_weights(path))
        self.sinus = sinus_rhythm_index(self.classes, path)
        places = class_positions(self.classes, labels)
        self.ignored = [label for label, place in zip(labels, places) if place is None]
        if len(self.ignored) == len(labels):
            raise ConfigError(
                f"{path} scores none of the labels {listed(labels)}; expected SNOMED CT codes such as {self.classes[0]}"
            )
        self.columns = [np.flatnonzero([place == number for place in places]) for number in range(len(self.classes))]

    def __call__(self, scored: Scored) -> np.ndarray:
        if not len(scored.targets):
            return np.array(np.nan)
        truth, answers = (
            np.stack([table[:, chosen].any(axis=1) for chosen in self.columns], axis=1)
            for table in (scored.targets == 1, scored.predicted & ~np.isnan(scored.targets))
        )
        return np.array(cinc_score(truth, answers, self.weights, self.sinus))
