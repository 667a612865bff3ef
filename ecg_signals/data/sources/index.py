"""A CSV that lists signal files, one row a signal, with its rate and labels: ST-MEM's index."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecg_signals import tables
from ecg_signals.config import ConfigError, resolve_input
from ecg_signals.data.label_table import patient_numbers
from ecg_signals.data.segment import Segment, SegmentSource
from ecg_signals.data.sources.files import NO_TRACKS, read_segment
from ecg_signals.data.sources.pickled import SUFFIXES, load_pickled_array
from ecg_signals.data.sources.stores import Stores
from ecg_signals.limits import HIGHEST_RATE, LOWEST_RATE, shown
from ecg_signals.readers.mat_file import unreadable
from ecg_signals.signal.leads import LEADS, order_leads

if TYPE_CHECKING:
    import pandas as pd

NAMED = 3  # bad rows that a message names


class SignalIndex(SegmentSource):
    """The rows of an index, and what reads the signals that they name; a file is looked at when it is read.

    Args:
        path: the CSV.
        root: folder that its file names follow; None: its own.
        filename, rate: columns of the file name and of the rate in Hz; no `rate`: what the files say themselves.
        labels: columns of labels.
        classes: names of the numbers 0, 1, ... in the one column of labels, which become one column each.
    Attributes:
        table: [rows, labels] float32, NaN = unknown; None without labels.
        names: of the labels, None where they are class numbers.
    Raises: ConfigError for a column that is missing, and for rows that cannot be used, counted and the first named.
    """

    def __init__(
        self,
        path: Path,
        root: str | None,
        *,
        filename: str,
        rate: str | None,
        labels: Sequence[str],
        classes: Sequence[str] | None,
    ) -> None:
        self.path = resolve_input(path)
        self.root: Path | str = self.path.parent if root is None else resolve_input(root)
        self.stores = Stores(self.root)
        needed = [filename, *([rate] if rate else []), *labels]
        table = tables.read_table(self.path, needed=needed, text=[filename])
        if table.empty:
            raise ConfigError(f"{self.path} lists no signal; add a row per file")
        self._check(table, table[filename].isna(), f"name no file in the column {filename}")
        self.files = np.array([name.encode() for name in table[filename]])  # [rows] bytes: one block of memory
        self.rates = None if rate is None else self._rates(table, rate)
        self.patients = patient_numbers(table)
        self.table, self.names = self._labels(table, labels, classes)

    @property
    def samples(self) -> np.ndarray:
        """[rows], zeros: an index does not say how long signals are."""
        return np.zeros(len(self.files), dtype=np.int64)

    def addresses(self, index: int) -> list[str]:
        return [f"{index}:{self.file(index)}"]

    def file(self, index: int) -> str:
        """The file name in row `index`."""
        return str(self.files[index].decode())

    def read(self, address: str) -> Segment:
        number, _, name = address.partition(":")
        row = int(number)
        found = self.stores.read(name) or read_signal(os.path.join(self.root, name))
        found.signal = leads_first(found.path, found.signal)
        if self.rates is not None:
            if found.rate is not None and found.rate != self.rates[row]:
                raise ConfigError(
                    f"{found.path} holds {found.rate:g} Hz, but {self.path} says {self.rates[row]:g} Hz in line "
                    f"{row + 2}; correct it, or set dataset.fs_col=null to go by the files"
                )
            found.rate = float(self.rates[row])
        found.idx = row
        if self.patients is not None:
            known = self.patients[row] >= 0
            found.patient, found.names_patient = int(self.patients[row]) if known else None, True
        found.label = None if self.table is None else self.table[row]
        return found

    def _rates(self, table: "pd.DataFrame", column: str) -> np.ndarray:
        import pandas as pd

        found = pd.to_numeric(table[column], errors="coerce")
        self._check(table, ~found.between(LOWEST_RATE, HIGHEST_RATE), f"have no sample rate in the column {column}")
        return found.to_numpy(dtype=np.float32)

    def _labels(
        self, table: "pd.DataFrame", columns: Sequence[str], classes: Sequence[str] | None
    ) -> tuple[np.ndarray | None, list[str] | None]:
        import pandas as pd

        if not columns:
            return None, None
        found = table[list(columns)].apply(pd.to_numeric, errors="coerce")
        most = 1 if len(columns) > 1 else len(classes) - 1 if classes else np.inf
        written = table[list(columns)].notna()
        wrong = written & (found.isna() | (found < 0) | (found > most) | (found % 1 != 0))
        several = "0 or 1" if len(columns) > 1 else f"a class number from 0{'' if most == np.inf else f' to {most}'}"
        self._check(table, wrong.any(axis=1), f"hold something else than {several} in {', '.join(columns)}")
        values = found.to_numpy(dtype=np.float32)
        if len(columns) > 1:
            return values, list(columns)
        if not classes:
            return values, None
        known = ~np.isnan(values)
        return np.where(known, values == np.arange(len(classes)), np.nan).astype(np.float32), list(classes)

    def _check(self, table: "pd.DataFrame", wrong: "pd.Series", what: str) -> None:
        """Raises: ConfigError counting and naming the rows where `wrong` is True."""
        bad = np.flatnonzero(wrong.to_numpy())
        if len(bad):
            lines = ", ".join(str(row + 2) for row in bad[:NAMED]) + (", ..." if len(bad) > NAMED else "")
            raise ConfigError(
                f"{self.path}: {len(bad)} of {len(table)} rows {what} (lines {lines}: "
                f"{shown(table.iloc[bad[0]].to_dict())}); correct or delete them"
            )


def read_signal(path: str, tracks: Mapping[str, bool] | None = NO_TRACKS) -> Segment:
    """A signal file: a pickled array, a .npy or .mat of segments, or any record file, whose leads are then ordered.

    Args:
        tracks: of segments, see `read_segment`.
    Raises: ConfigError naming the file when it is missing, damaged or of another kind.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix in SUFFIXES:
        return Segment(path, _pickled(path))
    if suffix == ".npy" or (suffix == ".mat" and not os.path.exists(f"{path[:-4]}.hea")):
        return read_segment(path, tracks)
    from ecg_signals.readers.read import read_record

    record = read_record(path)
    return Segment(path, order_leads(record.signal, record.leads, LEADS), record.sample_rate)


def _pickled(path: str) -> np.ndarray:
    try:
        return load_pickled_array(path)
    except OSError as error:
        raise ConfigError(unreadable(path, error)) from None


def leads_first(path: str, signal: np.ndarray) -> np.ndarray:
    if signal.ndim != 2 or signal.dtype.kind not in "iuf" or len(signal) > len(LEADS) or not signal.size:
        raise ConfigError(
            f"{path} holds {signal.dtype} of shape {list(signal.shape)}; expected numbers [leads, samples] with up to "
            f"{len(LEADS)} leads, {' '.join(LEADS)}"
        )
    return signal
