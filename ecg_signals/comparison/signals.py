"""The records of a data set, prepared once as an input contract says, for all runs that take them so."""

import hashlib
import json
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError, listed
from ecg_signals.data.datasets.ecg_prepared import FILE
from ecg_signals.data.sources.files import read_segment
from ecg_signals.evaluation.benchmarks.data import DataSet
from ecg_signals.files import replacing
from ecg_signals.processes import process_pool
from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.missing import interpolate_nan
from ecg_signals.signal.record import Record
from ecg_signals.signal.steps.base import Step
from ecg_signals.tables import read_table, write_table

logger = logging.getLogger(__name__)

INDEX = "index.csv"  # written last: a folder without it is not complete
FEW = 200  # records that one process prepares as fast as several
FREE = ("window_samples", "stride_samples", "window_count", "aggregate")  # of a contract, which a run decides


@dataclass(frozen=True)
class Prepared:
    """Prepared records.

    Attributes:
        folder: of the files.
        samples: row of meta.csv -> samples; a record that cannot be prepared is not there.
    """

    folder: Path
    samples: dict[int, int]


def prepare_records(data: DataSet, contract: SignalContract, place: Path, jobs: int) -> Prepared:
    """Files below `place`, unless they are there; says what could not be prepared or was filled.

    Raises: ConfigError when no record can be prepared.
    """
    folder = place / f"{data.folder.name}-{digest_of(data, contract)}"
    if not (folder / INDEX).is_file():
        stored = [(row, data.signal_file(row)) for row in range(len(data.meta))]
        told = list(_all(partial(prepare_one, contract, data.leads, folder, first=data.first_seconds), stored, jobs))
        if not any(samples for _, samples, _ in told):
            raise ConfigError(f"no record of {data.folder} can be prepared. The first: {told[0][2]}")
        with replacing(folder / FILE) as partial_path:
            partial_path.write_text(json.dumps(contract.to_dict()))
        import pandas as pd

        write_table(folder / INDEX, pd.DataFrame(told, columns=["row", "samples", "note"]))
    table = read_table(folder / INDEX, ["row", "samples", "note"])
    _tell(data, table["samples"].to_numpy(), [str(note) for note in table["note"] if note == note])
    samples = dict(zip(table["row"].tolist(), table["samples"].tolist()))
    return Prepared(folder, {row: count for row, count in samples.items() if count})


def digest_of(data: DataSet, contract: SignalContract) -> str:
    """Changes with the records and with what prepares them."""
    steps = {key: value for key, value in contract.to_dict().items() if key not in FREE}
    told: list[Any] = [steps, data.version]
    if data.first_seconds:
        told += [data.first_seconds, contract.window_samples]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]


Stored = tuple[int, Path]  # row of meta.csv, file of the whole record
Told = tuple[int, int, str]  # row of meta.csv, samples (0: not prepared), and what there is to say


def _all(work: Callable[[Stored], Told], stored: Sequence[Stored], jobs: int) -> Iterator[Told]:
    from tqdm import tqdm

    bar: Any = partial(tqdm, total=len(stored), unit="record", desc="prepare", disable=None)
    if min(jobs, len(stored) // FEW) < 2:
        yield from bar(map(work, stored))
        return
    with process_pool(jobs, "Run the same command again with a smaller jobs=N") as pool:
        yield from bar(pool.map(work, stored, chunksize=32))


def prepare_one(
    contract: SignalContract, leads: Sequence[str], folder: Path, stored: Stored, first: float | None = None
) -> Told:
    """Prepare one record. first: see Benchmark."""
    from scipy.io import savemat

    row, path = stored
    notes = []
    try:
        record = read_stored(path, leads)
        if first:
            record.signal = beginning(record, first, contract.window_samples / contract.sample_rate)
        filled = interpolate_nan(record.signal)  # but for leads that are missing
        gaps = not np.array_equal(filled, record.signal, equal_nan=True)
        if gaps and not any(isinstance(step, Step) and step.fills_nan for step in contract.made()):
            record.signal = filled
            notes.append("gaps are filled by straight lines")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # flat leads, which stay as they are, and missing ones
            signal, rate, missing = contract.conditioned(record)
    except ConfigError as error:
        return row, 0, str(error)
    signal[missing] = 0  # whatever the steps made of them, as the contract's own `prepare` does
    notes += ["missing leads are zero"] if missing else []
    content = {"feats": signal.astype(np.float32), "curr_sample_rate": rate, "idx": row}
    with replacing(folder / path.name) as partial_path, partial_path.open("wb") as file:
        savemat(file, content)
    return row, signal.shape[-1], "; ".join(notes)


def beginning(record: Record, seconds: float, window: float) -> np.ndarray:
    """The first seconds of a record's signal [leads, samples], and zeros behind them where a window is longer.

    Leads that are missing stay so.
    """
    kept = record.signal[:, : round(seconds * record.sample_rate)]
    behind = max(0, round(window * record.sample_rate) - kept.shape[-1])
    filled = np.pad(kept, ((0, 0), (0, behind)))
    filled[np.isnan(kept).all(axis=1)] = np.nan
    return filled


def read_stored(path: Path, leads: Sequence[str]) -> Record:
    """A whole record as ecg-preprocess stored it, mV. Raises: ConfigError where it is missing or damaged."""
    segment = read_segment(str(path))
    return Record(np.array(segment.signal), float(segment.rate or 0), list(leads))


def _tell(data: DataSet, samples: np.ndarray, notes: Sequence[str]) -> None:
    lost = int((samples == 0).sum())
    if lost:
        logger.warning("%d of %d records of %s cannot be prepared and are left out", lost, len(samples), data.folder)
    if notes:
        counts = [f"{note} ({count})" for note, count in Counter(notes).most_common()]
        logger.warning("%s: %s", data.folder, listed(counts, 4))
