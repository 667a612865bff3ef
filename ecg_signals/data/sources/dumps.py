"""Recordings by number, any part of them at a time: dumps of whole datasets, and manifests.

A dump is one array, records behind each other and the leads last: `.npy` [records, samples, leads], or, where records
differ in length, an uncompressed `.npz` of `data` [samples of all records, leads] and `sizes` [records]. Beside it,
`<dump>.json` may say what the array does not; `ecg-preprocess dump` writes both.
"""

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.data.manifest import Manifest
from ecg_signals.data.sources.files import FileSource
from ecg_signals.files import replacing
from ecg_signals.limits import read_json
from ecg_signals.readers.npy_file import load_npy, map_npz
from ecg_signals.signal.leads import LEADS

SUFFIXES = (".npy", ".npz", ".tsv")


@dataclass
class DumpNotes(BaseConfig):
    """What stands in `<dump>.json`."""

    dataset: str | None = option(None, "name of the dataset")
    sample_rate: float | None = option(None, "Hz", above=0)
    leads: list[str] | None = option(None, "name of every column")
    scale: float = option(1.0, "mV per stored unit", above=0)
    baseline_removed: bool = option(False, "baseline wander is filtered out already")
    records: int | None = option(None, "records whose values the statistics are of")
    mean: list[float] | None = option(None, "mV, of every column, missing values left out")
    std: list[float] | None = option(None, "mV, of every column, missing values left out")


class Records(ABC):
    """Recordings of one dataset.

    Attributes:
        path: the file, for messages.
        samples: [records] int64, as stored.
        notes: what the files say of themselves; None where they do not.
    """

    path: Path
    samples: np.ndarray
    notes: DumpNotes

    def __len__(self) -> int:
        return len(self.samples)

    @property
    @abstractmethod
    def rows(self) -> int:
        """Leads of every record."""

    def fetch(self, records: Iterable[int]) -> None:
        """Get ready what `read` will be asked for next; files on this machine need not."""
        return

    @abstractmethod
    def read(self, record: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """[leads, samples] from `start` to `stop`, as stored: any numeric type, read-only, usually a view."""


class Dump(Records):
    """A dump, memory-mapped.

    Raises: ConfigError for a file that is no dump, naming what it holds.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes = read_notes(path)
        if path.suffix == ".npz":
            self._data, self.samples = _variable(path)
            self._starts = np.concatenate([[0], np.cumsum(self.samples)])
        else:
            data = _opened(path)
            if data.ndim != 3 or data.dtype.kind not in "fiu":
                raise _no_dump(path, f"{data.dtype} {list(data.shape)}")
            records, samples, _ = data.shape
            self.samples = np.full(records, samples, dtype=np.int64)
            self._starts = np.arange(records + 1) * samples
            self._data = data
        self._fixed = self._data.ndim == 3

    def __reduce__(self) -> tuple[type["Dump"], tuple[Path]]:
        return Dump, (self.path,)

    @property
    def rows(self) -> int:
        return int(self._data.shape[-1])

    def read(self, record: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        stop = int(self.samples[record]) if stop is None else stop
        if self._fixed:
            return np.asarray(self._data[record, start:stop]).T
        first = int(self._starts[record])
        return np.asarray(self._data[first + start : first + stop]).T


class ManifestRecords(Records):
    """The rows of a plain manifest: files or a packed store, as ecg-preprocess and ecg-pack write them; mV or z-scores.

    All rows have the rate and the leads of the first; the leads stand in the standard order.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest = Manifest(path, "plain")
        self.samples = self.manifest.samples
        self._source = FileSource(self.manifest.root)
        first = self._source.read(self.manifest.addresses(0)[0])
        self._rows, leads = len(first.signal), list(LEADS) if len(first.signal) == len(LEADS) else None
        self.notes = DumpNotes(sample_rate=first.rate, leads=leads)

    @property
    def rows(self) -> int:
        return self._rows

    def fetch(self, records: Iterable[int]) -> None:
        if self._source.remote:
            self._source.fetch(self.manifest.addresses(record)[0] for record in records)

    def read(self, record: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        segment = self._source.read(self.manifest.addresses(record)[0])
        expected = (self._rows, int(self.samples[record]))
        if segment.signal.shape != expected or segment.rate != self.notes.sample_rate:
            raise ConfigError(
                f"{segment.path} holds {list(segment.signal.shape)} at {segment.rate} Hz; {self.path} and its first "
                f"row say {list(expected)} at {self.notes.sample_rate} Hz. Make the manifest again with "
                f"`ecg-preprocess manifest`, of records of one rate"
            )
        return segment.signal[:, start:stop]


def open_records(path: Path) -> Records:
    """The recordings of a dump or a manifest, by the file's suffix."""
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"{path} is neither a dump (.npy, .npz) nor a manifest (.tsv); name one of these")
    return ManifestRecords(path) if path.suffix == ".tsv" else Dump(path)


def _opened(path: Path) -> np.ndarray:
    try:
        return load_npy(path, mapped=True)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; check the path") from None


def _no_dump(path: Path, found: str) -> ConfigError:
    return ConfigError(
        f"{path} holds {found}; expected numbers [records, samples, leads] in a .npy, or in a .npz `data` [samples, "
        f"leads] and `sizes` [records] that add up to its samples. Make a dump with `ecg-preprocess dump`"
    )


def _variable(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        found = map_npz(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; check the path") from None
    if not {"data", "sizes"} <= found.keys():
        raise _no_dump(path, f"the arrays {', '.join(sorted(found)[:8]) or 'none'}")
    data, sizes = found["data"], found["sizes"]
    shapes = f"data {data.dtype} {list(data.shape)} and sizes {sizes.dtype} {list(sizes.shape)}"
    if data.ndim != 2 or data.dtype.kind not in "fiu" or sizes.ndim != 1 or sizes.dtype.kind not in "iu":
        raise _no_dump(path, shapes)
    samples = np.array(sizes, dtype=np.int64)
    if (samples < 0).any() or (samples > len(data)).any() or int(samples.sum()) != len(data):
        raise _no_dump(path, f"{shapes} that do not add up")
    return data, samples


def notes_path(dump: str | os.PathLike[str]) -> Path:
    return Path(f"{os.fspath(dump)}.json")


def read_notes(dump: Path) -> DumpNotes:
    """What `<dump>.json` says; nothing where there is none. Raises: ConfigError naming it for anything else."""
    path = notes_path(dump)
    if not path.is_file():
        return DumpNotes()
    found = read_json(path)
    if not isinstance(found, dict):
        raise ConfigError(f"{path} holds no JSON object; expected the facts that `ecg-preprocess dump` writes")
    return DumpNotes.from_mapping(found, where=str(path))


def write_notes(dump: Path, notes: DumpNotes, out: Path | None = None) -> None:
    """Write `<dump>.json`, or `out`, atomically."""
    values = {key: value for key, value in notes.to_dict().items() if value is not None and key != "_name"}
    with replacing(out or notes_path(dump), durable=True) as partial:
        partial.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
