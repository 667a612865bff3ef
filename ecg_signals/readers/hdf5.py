"""HDF5 files: the parts of CODE-15, SaMi-Trop and the CODE test set (many records), and SPH (one)."""

from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.record import Record

CODE_RATE, SPH_RATE = 400, 500  # Hz; the files do not say them


def read_hdf5(path: Path, id: int | str | None) -> Record:
    """The record `id` of a file with `tracings` [records, samples, 12], or the one record of an `ecg` [12, samples].

    Samples that are zero in all leads at either end are padding and left out; `metadata["stripped_samples"]`
    counts them.

    Args:
        id: a value of the dataset `exam_id`; the row where the file has none; None if there is one record.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if "tracings" in file:
                return _from_tracings(path, file, id)
            if "ecg" in file:
                if id is not None:
                    raise ConfigError(f"{path} holds a single record, but id={id!r} was asked for; leave id out")
                return _record(path, np.asarray(file["ecg"]), SPH_RATE, {})
            found = ", ".join(file) or "nothing"
    except (OSError, RuntimeError, KeyError) as error:
        raise ConfigError(f"{path} is truncated or no HDF5 file ({error}); get the file again") from error
    raise ConfigError(f"{path} holds {found}; expected 'tracings' (CODE-15, SaMi-Trop) or 'ecg' (SPH)")


def _from_tracings(path: Path, file: Any, id: int | str | None) -> Record:
    ids = np.asarray(file["exam_id"]) if "exam_id" in file else np.arange(len(file["tracings"]))
    real = np.flatnonzero(ids) if "exam_id" in file else np.arange(len(ids))  # a last exam 0 fills up each part
    if id is None:
        if len(real) != 1:
            listed = ", ".join(str(value) for value in ids[real][:3])
            raise ConfigError(f"{path} holds {len(real)} records ({listed} ...); say which with id=")
        row = int(real[0])
    else:
        rows = np.flatnonzero(ids == _number(path, id))
        if not len(rows):
            listed = ", ".join(str(value) for value in ids[real][:3])
            raise ConfigError(f"{path} holds nothing for id {id}; it has {len(real)} records ({listed} ...)")
        row = int(rows[0])
    signal = np.asarray(file["tracings"][row]).T
    used = np.flatnonzero((signal != 0).any(axis=0))
    first, end = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, signal.shape[1])
    metadata = {"exam_id": int(ids[row]), "stripped_samples": [first, signal.shape[1] - end]}
    return _record(path, signal[:, first:end], CODE_RATE, metadata)


def _number(path: Path, id: int | str) -> int:
    try:
        return int(id)
    except ValueError:
        raise ConfigError(f"id {id!r} of {path} must be a number, as in the column exam_id of exams.csv") from None


def _record(path: Path, signal: np.ndarray, rate: int, metadata: dict[str, Any]) -> Record:
    if signal.ndim != 2 or signal.shape[0] != len(LEADS) or signal.dtype.kind != "f" or not signal.size:
        found = f"shape {signal.shape}, type {signal.dtype}"
        raise ConfigError(f"{path} holds a record of {found}; expected real numbers of 12 leads")
    signal = np.ascontiguousarray(signal, dtype=np.float32)
    signal[~np.isfinite(signal)] = np.nan
    return Record(signal, rate, list(LEADS), [], metadata)
