"""The files in which an entry of the PhysioNet/CinC Challenges answers, one per record.

    #JS00001
    164889003,733534002,164909002
    0,1,1
    0.12,0.56,0.56

Record, codes, decisions, probabilities. A class of several codes is written under each of them, as every edition of the
Challenge's scorer reads it.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.limits import path_below
from ecg_signals.metrics.cinc import class_positions
from ecg_signals.tables import read_text, write_text


def write_outputs(
    folder: Path, records: Sequence[str], classes: Sequence[str], predicted: np.ndarray, scores: np.ndarray
) -> None:
    """Write `<record>.csv` for each of `records`.

    Args:
        records: names, as those of their headers.
        classes: SNOMED CT codes, equivalent ones joined by `|`.
        predicted: bool [records, classes].
        scores: [records, classes] probabilities.
    Raises: ConfigError for a name that leads out of the folder.
    """
    codes = [(number, code) for number, name in enumerate(classes) for code in name.split("|")]
    columns = [number for number, _ in codes]
    header = ",".join(code for _, code in codes)
    for record, decisions, probabilities in zip(records, predicted, scores):
        path = path_below(folder, f"{record}.csv", "the name of a record")
        answers = ",".join(str(int(value)) for value in decisions[columns])
        values = ",".join(repr(float(value)) for value in probabilities[columns])
        write_text(path, f"#{record}\n{header}\n{answers}\n{values}\n")


def read_outputs(folder: Path, records: Sequence[str], classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """bool decisions and probabilities, [records, classes] each.

    Of several codes of one class any decision counts, and the mean of the probabilities; classes that a file does not
    name are decided against, with probability 0; other codes are left out.

    Raises: ConfigError for a file that is missing or not of the form above.
    """
    predicted, scores = np.zeros((len(records), len(classes)), dtype=bool), np.zeros((len(records), len(classes)))
    for row, record in enumerate(records):
        path = path_below(folder, f"{record}.csv", "the name of a record")
        codes, decisions, probabilities = _lines(path)
        places = class_positions(classes, codes)
        for number in {place for place in places if place is not None}:
            own = [column for column, place in enumerate(places) if place == number]
            predicted[row, number] = decisions[own].any()
            scores[row, number] = probabilities[own].mean()
    return predicted, scores


def _lines(path: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    if not path.is_file():
        raise ConfigError(f"there are no outputs {path}; expected one file per record")
    lines = [line for line in read_text(path).splitlines() if line.strip() and not line.lstrip().startswith("#")]
    rows = [[cell.strip() for cell in line.split(",")] for line in lines]
    if len(rows) != 3 or len({len(row) for row in rows}) != 1:
        raise ConfigError(
            f"{path} has lines of {', '.join(str(len(row)) for row in rows[:5]) or 'no'} fields; expected three lines "
            f"of equal length: codes, decisions, probabilities"
        )
    yes = np.array([cell.lower() in ("1", "true", "t") for cell in rows[1]])
    try:
        return rows[0], yes, np.array([float(cell) for cell in rows[2]])
    except ValueError as error:
        raise ConfigError(f"{path} holds a probability that is not a number: {error}") from None
