"""Whole WFDB trees as windows of one length at the records' own rate, and an index of them: ST-MEM's data."""

import pickle
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.files import replacing
from ecg_signals.limits import path_below
from ecg_signals.preprocess.workers import UNREADABLE
from ecg_signals.processes import by_processes
from ecg_signals.registry import register_source
from ecg_signals.signal.leads import LEADS, order_leads
from ecg_signals.signal.windows import segment

FORMATS = ("npy", "pkl")
CHUNK = 16  # records per task
SHOWN = 10  # skipped records that are printed
_TODAY, _THEIRS = b"numpy._core.multiarray\n", b"numpy.core.multiarray\n"


@dataclass
class Cut:
    """What became of one record: rows of the index, and why something of it is not there."""

    path: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    skipped: str = ""


def cut_records(folder: Path, dest: Path, index: Path, *, seconds: float, form: str, workers: int) -> str:
    """Every WFDB record below `folder` in windows, one file each below `dest`, and the table `index` of them.

    Windows do not overlap and have no NaN; leads are I II III aVR aVL aVF V1-V6, however the header spells them. What
    an earlier run wrote is kept. DEST/skipped.csv says what was left out and why.

    Args:
        seconds: of a window; shorter records are left out.
        form: one of FORMATS; pkl is what ST-MEM reads.
    Returns: what there is to say.
    Raises: ConfigError if nothing could be cut, or a file in `dest` is not what would be written there.
    """
    import pandas as pd

    from ecg_signals.tables import write_table

    folder, dest = folder.expanduser().resolve(), dest.expanduser().resolve()
    entry: Any = register_source.get("wfdb")
    source = entry.cls(folder, entry.dataclass())
    source.skip = dest
    paths = source.paths()
    found = list(by_processes(partial(cut_record, folder, dest, seconds, form), paths, workers, CHUNK))
    rows = [row for cut in found for row in cut.rows]
    skipped = [(cut.path, cut.skipped) for cut in found if cut.skipped]
    if not rows:
        first = f": {skipped[0][0]} {skipped[0][1]}" if skipped else "; it holds no .hea file"
        raise ConfigError(f"no window could be cut of {len(paths)} records in {folder}{first}")
    write_table(dest / "skipped.csv", pd.DataFrame(skipped, columns=["path", "reason"]))
    write_table(index, pd.DataFrame(rows))
    return _told(found, rows, skipped, dest, index)


def cut_record(folder: Path, dest: Path, seconds: float, form: str, path: str) -> Cut:
    """The windows of the record `path` below `folder`, written below `dest`; a record that cannot be read is skipped.

    Raises: ConfigError when another file stands in the place of a window.
    """
    from ecg_signals.readers.read import read_record

    try:
        record = read_record(folder / path, dtype="float64")  # float32 comes last, as published
        missing = [lead for lead in LEADS if lead not in record.leads]
        if missing:
            return Cut(path, skipped=f"has no {', '.join(missing)} (found {', '.join(record.leads)})")
        signal = order_leads(record.signal, record.leads, LEADS).astype(np.float32)
    except (ConfigError, OSError, *UNREADABLE) as error:
        return Cut(path, skipped=f"cannot be read: {error}")
    if signal.shape[-1] < seconds * record.sample_rate:
        return Cut(path, skipped=f"has {signal.shape[-1] / record.sample_rate:.3g} s, less than {seconds:g} s")
    windows, stem = segment(signal, int(seconds * record.sample_rate)), PurePosixPath(path).with_suffix("")
    there = [(number, window) for number, window in enumerate(windows) if not np.isnan(window).any()]
    cut = Cut(path, skipped="" if len(there) == len(windows) else f"has NaN in {len(windows) - len(there)} windows")
    for number, window in there:
        name = f"{stem}_{number}.{form}"
        _write(path_below(dest, name, path), window, form)
        cut.rows.append({
            "RELATIVE_FILE_PATH": name,
            "FILE_NAME": name,
            "SAMPLE_RATE": record.sample_rate,
            "SOURCE": stem.parts[0] if len(stem.parts) > 1 else None,
        })  # fmt: skip
    return cut


def _write(path: Path, window: np.ndarray, form: str) -> None:
    window = np.ascontiguousarray(window)
    if path.exists():
        if _holds(path, window, form):
            return
        raise ConfigError(f"{path} is there already and holds something else; give another folder as DEST")
    with replacing(path) as partial_path, open(partial_path, "wb") as file:
        if form == "npy":
            np.save(file, window)
        else:
            file.write(pickled(window))


def _holds(path: Path, window: np.ndarray, form: str) -> bool:
    from ecg_signals.data.sources.pickled import load_pickled_array
    from ecg_signals.readers.npy_file import load_npy

    try:
        found = load_npy(path) if form == "npy" else load_pickled_array(path)
    except (ConfigError, OSError):
        return False
    return found.dtype == window.dtype and np.array_equal(found, window)


def pickled(array: np.ndarray) -> bytes:
    """A pickle of an array that NumPy 1 and 2 read: it names NumPy's core as version 1 calls it."""
    return pickle.dumps(array, protocol=3).replace(_TODAY, _THEIRS, 1)


def _told(found: list[Cut], rows: list[dict[str, Any]], skipped: list[tuple[str, str]], dest: Path, index: Path) -> str:
    rates = Counter(f"{row['SAMPLE_RATE']:g} Hz" for row in rows)
    kept = sum(bool(cut.rows) for cut in found)
    lines = [
        f"{len(found)} records found, {kept} cut into {len(rows)} windows -> {dest}",
        *(f"  {rate:12}{count:>10} windows" for rate, count in sorted(rates.items())),
        f"{len(skipped)} records were left out or have gaps: {dest / 'skipped.csv'}" if skipped else "none left out",
        *(f"    {path} {reason}" for path, reason in skipped[:SHOWN]),
        *([f"    and {len(skipped) - SHOWN} more"] if len(skipped) > SHOWN else []),
        f"index: {index}. To train on it, copy or split it to train.csv and valid.csv in one folder:",
        f"  task.data=FOLDER dataset._name=st_mem_index dataset.signal_dir={dest} task.sample_rate=250",
    ]
    return "\n".join(lines)
