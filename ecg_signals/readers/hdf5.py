"""HDF5 files: the parts of CODE-15, SaMi-Trop and the CODE test set (many records), and SPH (one)."""

import zlib
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.limits import MOST_ENTRIES, shown, size_of
from ecg_signals.readers.base import Reader
from ecg_signals.readers.hdf5_values import opened, read_rows, stored_dataset
from ecg_signals.readers.stated import Stated, remove_infinite
from ecg_signals.readers.units import voltage_factor
from ecg_signals.registry import register_reader
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.record import Record

CODE_RATE, SPH_RATE = 400, 500  # Hz; the files do not say them


@register_reader("hdf5")
class Hdf5Reader(Reader):
    """HDF5 files of CODE-15, SaMi-Trop and the CODE test set, which hold many records, and of SPH."""

    suffixes = (".h5", ".hdf5")
    stated_by = "its layout"
    many = True

    def sniff(self, head: bytes) -> bool:
        return head.startswith(b"\x89HDF\r\n\x1a\n")

    def read(self, found: Path, id: int | str | None, stated: Stated) -> Record:
        """The record `id` of a file with `tracings` [records, samples, 12], or the one of an `ecg` [12, samples].

        Samples that are zero in all leads at either end are padding and left out; `metadata["stripped_samples"]`
        counts them. The files do not say their units and are taken to be in mV.

        Args:
            id: a value of the dataset `exam_id`; the row where the file has none; None if there is one record.
        """
        return _read(found, id, stated.units, stated.dtype)


def _read(path: Path, id: int | str | None, units: str | None, dtype: str) -> Record:
    size_of(path)
    try:
        with opened(path) as file:
            if b"tracings" in file:
                return _from_tracings(path, file, id, units, dtype)
            if b"ecg" in file:
                if id is not None:
                    raise ConfigError(f"{path} holds a single record, but id={id!r} was asked for; leave id out")
                data = stored_dataset(path, file, "ecg", 2)
                return _record(path, read_rows(path, data), SPH_RATE, {}, units, dtype)
            found = _listed(file)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, zlib.error) as error:
        raise ConfigError(f"{path} is truncated or no HDF5 file ({error}); get the file again") from error
    raise ConfigError(f"{path} holds {found}; expected 'tracings' (CODE-15, SaMi-Trop) or 'ecg' (SPH)")


def _listed(file: Any) -> str:
    """The first names in the file; h5py gathers all before it gives one."""
    if (count := file.get_num_objs()) > MOST_ENTRIES:
        return f"{count} things"
    return shown(", ".join(name.decode("utf-8", "replace") for name in islice(file, 10))) or "nothing"


def _from_tracings(path: Path, file: Any, id: int | str | None, units: str | None, dtype: str) -> Record:
    tracings = stored_dataset(path, file, "tracings", 3)
    row, exam = _find(path, file, tracings.shape[0], id)
    signal = read_rows(path, tracings, row).T
    used = np.flatnonzero((signal != 0).any(axis=0))
    first, end = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, signal.shape[1])
    metadata = {"exam_id": exam, "stripped_samples": [first, signal.shape[1] - end]}
    return _record(path, signal[:, first:end], CODE_RATE, metadata, units, dtype)


def _find(path: Path, file: Any, records: int, id: int | str | None) -> tuple[int, int]:
    """Row and exam id of the record that is meant."""
    ids: Any = range(records)
    real: Any = ids
    if b"exam_id" in file:
        ids = read_rows(path, stored_dataset(path, file, "exam_id", 1))
        if len(ids) != records:
            raise ConfigError(f"{path} holds {len(ids)} exam ids for {records} tracings; get the file again")
        real = np.flatnonzero(ids)  # a last exam 0 fills up each part
    count, listed = len(real), ", ".join(str(ids[row]) for row in real[:3])
    if id is None:
        if count != 1:
            raise ConfigError(f"{path} holds {count} records ({listed} ...); say which with id=")
        return int(real[0]), int(ids[int(real[0])])
    number = _number(path, id)
    rows = np.flatnonzero(ids == number) if isinstance(ids, np.ndarray) else [number][: number in ids]
    if not len(rows):
        raise ConfigError(f"{path} holds nothing for id {id}; it has {count} records ({listed} ...)")
    return int(rows[0]), number


def _number(path: Path, id: int | str) -> int:
    try:
        return int(id)
    except ValueError:
        raise ConfigError(f"id {id!r} of {path} must be a number, as in the column exam_id of exams.csv") from None


def _record(
    path: Path, values: np.ndarray, rate: int, metadata: dict[str, Any], units: str | None, dtype: str
) -> Record:
    if values.ndim != 2 or values.shape[0] != len(LEADS) or values.dtype.kind != "f" or not values.size:
        found = f"shape {values.shape}, type {values.dtype}"
        raise ConfigError(f"{path} holds a record of {found}; expected real numbers of 12 leads")
    factor = voltage_factor(units, str(path)) if units else 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        own = "float32" if factor == 1 and values.dtype.itemsize < 8 else dtype  # a file's own is kept as it is
        signal = np.array(values if factor == 1 else values.astype(np.float64) * factor, dtype=own, order="C")
    remove_infinite(path, signal)
    return Record(signal, rate, list(LEADS), [], metadata)
