"""Record files and a table of what is true of them -> a classifier's answers, to calibrate it by."""

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ecg_signals.config import ConfigError, resolve_input
from ecg_signals.data.label_names import listed
from ecg_signals.inference.calibrate import Validation, calibrated_kind, hash_of
from ecg_signals.inference.predict import Predictor
from ecg_signals.interop.layout import ModelSource
from ecg_signals.metrics.logits import CLASSES, joined_logits
from ecg_signals.preprocess.own_files import FILE_COLUMNS, file_column
from ecg_signals.quality.assess import assess
from ecg_signals.readers.read import read_record
from ecg_signals.tables import Table, check_columns, numbers, read_table

logger = logging.getLogger(__name__)

PATIENT = "patient_id"


def answers_to_files(
    checkpoint: str, source: ModelSource, table: str, device: str | None = None, **reading: Any
) -> Validation:
    """A checkpoint's answers to the record files that a table names; what cannot be answered is told and left out.

    Args:
        source: what the checkpoint holds.
        table: a CSV with a column `path` (or filename, file), below its own folder or from the root; one of 0 and 1 per
            label of the model, empty where unknown; and maybe `patient_id`.
        reading: options of `read_record`.
    Raises: ConfigError when the table does not fit the model, or no record can be answered.
    """
    kind = calibrated_kind(source, checkpoint)
    predictor = Predictor(checkpoint, device or "cpu")
    place = resolve_input(table)
    rows = read_table(place)
    column = file_column(list(rows.columns))
    if column is None:
        check_columns(rows, [FILE_COLUMNS[0]], str(place))
    targets = _targets(rows, predictor.labels, place, kind)
    windows: list[Tensor] = []
    pooled: list[Tensor] = []
    kept = []
    for number, name in enumerate(rows[column].astype(str)):
        try:
            logits, vector = _answer(predictor, place.parent / name, reading)
            windows.append(logits)
            pooled += [] if vector is None else [vector]
            kept.append(number)
        except ConfigError as error:
            logger.warning("left out: %s", error)
    if not kept:
        raise ConfigError(f"none of the {len(rows)} records of {place} can be answered")
    rules = [predictor.signal.rule(label) for label in predictor.labels]
    names = [Path(name).name for name in rows[column].astype(str).iloc[kept]]
    return Validation(
        np.stack([joined_logits(each.double(), rules, kind).numpy() for each in windows]),
        np.stack([predictor.joined(each).numpy() for each in windows]),
        targets[kept], _owners(rows)[kept], place.name, hash_of(names, targets[kept]), kind,
        torch.stack(pooled).numpy() if pooled else None,
    )  # fmt: skip


def _answer(predictor: Predictor, path: Path, reading: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
    """`Predictor.answers` to one file, of a quality that ecg-predict would answer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        record = read_record(path, **reading)
        stated = "units" in reading
        return predictor.answers(predictor.usable(path, record, assess(record, stated), stated))


def _targets(rows: Table, labels: list[str], place: Path, kind: str) -> np.ndarray:
    """[records, labels] of 0, 1 and NaN; of classes, rows that have not exactly one are unknown."""
    lacking = [label for label in labels if label not in rows.columns]
    if len(lacking) == len(labels) or (lacking and kind == CLASSES):
        raise ConfigError(f"{place} has no column {listed(lacking)}; it takes one of 0 and 1 per label of the model")
    if lacking:
        logger.warning("%s has no column %s: nothing is known of them", place, listed(lacking))
    found = np.full((len(rows), len(labels)), np.nan)
    for column, label in enumerate(labels):
        if label not in lacking:
            found[:, column] = numbers(rows, label, place)
    if not np.isin(found[~np.isnan(found)], (0, 1)).all():
        raise ConfigError(f"{place} holds labels that are neither 0 nor 1 nor empty")
    if kind == CLASSES:
        one = (found == 1).sum(axis=1, keepdims=True) == 1
        found = np.where(one, np.nan_to_num(found), np.nan)
    return found


def _owners(rows: Table) -> np.ndarray:
    """[records] numbers of patients; a row without one is a patient of its own."""
    alone = np.array([f"row {number}" for number in range(len(rows))], dtype=object)
    if PATIENT not in rows.columns:
        logger.warning("the table has no column %s: every record is taken as a patient of its own", PATIENT)
        return np.arange(len(rows))
    named = rows[PATIENT].map(str).where(rows[PATIENT].notna(), alone)
    return np.unique(named.astype(str), return_inverse=True)[1]
