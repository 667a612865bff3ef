"""The score of the PhysioNet/CinC Challenge 2021: confusions weighted by how alike their treatment is."""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ecg_signals.config import ConfigError, resolve_input
from ecg_signals.tables import read_rows

SINUS_RHYTHM = "426783006"  # SNOMED CT code; the score's zero is to answer it always


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
