"""A data set as ecg-preprocess left it, for the benchmarks that read it."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ecg_signals.config import ConfigError, listed
from ecg_signals.data.sources.files import read_segment
from ecg_signals.files import replacing
from ecg_signals.readers.npy_file import load_npy
from ecg_signals.registry import register_source
from ecg_signals.signal.leads import LEADS
from ecg_signals.tables import Table, check_columns, read_table

META, RECORDS = "meta.csv", "org"
TEXT = ("save_file", "diagnosis", "AHA_Code", "signal_sha1")  # columns that may look like numbers


@dataclass(frozen=True)
class DataSet:
    """One data set.

    Attributes:
        folder: DEST of ecg-preprocess.
        meta: its meta.csv, one row per record.
        cache: a folder for what takes long to compute.
        first_seconds: see Benchmark.
    """

    folder: Path
    meta: Table
    cache: Path
    first_seconds: float | None = None

    def columns(self, names: Sequence[str]) -> Table:
        """meta.csv. Raises: ConfigError when a column is missing that the labels are made of."""
        try:
            check_columns(self.meta, names, str(self.folder / META))
        except ConfigError as error:
            raise ConfigError(
                f"{error}. The labels are made of {', '.join(names)}: preprocess the published data set"
            ) from None
        return self.meta

    @cached_property
    def leads(self) -> list[str]:
        """Of the stored records, in order."""
        stored = self.meta.get("lead_order")
        names = str(stored.iloc[0]).strip("[]").split(",") if stored is not None else LEADS
        return [name.strip().strip("'") for name in names]

    def signal_file(self, row: int) -> Path:
        """The whole record of a row of meta.csv, mV at its own rate. Raises: ConfigError where it is not stored."""
        path = self.folder / RECORDS / str(self.meta["save_file"].iloc[row])
        if not path.is_file():
            raise ConfigError(
                f"{path} is not there: benchmarks prepare the whole records for each model. Preprocess again with "
                f"keep_org=true"
            )
        return path

    @cached_property
    def version(self) -> str:
        """Changes with the folder and with its signals, by the digests in meta.csv, else by the files' size and age."""
        digest = hashlib.sha256(str(self.folder.resolve()).encode())
        if "signal_sha1" in self.meta.columns:
            told = self.meta[["save_file", "signal_sha1"]].astype(str).to_numpy().tolist()
        else:
            files = [(self.folder / RECORDS / name, name) for name in self.meta["save_file"].astype(str)]
            told = [[name, _size_and_age(path)] for path, name in files]
        digest.update(json.dumps(told).encode())
        return digest.hexdigest()[:16]

    def measured(
        self, name: str, measure: Callable[[np.ndarray, float], float], rows: np.ndarray | None = None
    ) -> np.ndarray:
        """A number of every stored record, by its signal [leads, samples] and Hz; computed once.

        Args:
            rows: of meta.csv; None: all.
        Returns: [rows].
        """
        some = "" if rows is None else f"-{hashlib.sha256(rows.astype(np.int64).tobytes()).hexdigest()[:12]}"
        path = self.cache / f"{name}-{self.version}{some}.npy"
        if path.is_file():
            return load_npy(path)
        wanted = range(len(self.meta)) if rows is None else rows.tolist()
        segments = (read_segment(str(self.signal_file(row))) for row in wanted)
        values = np.array([measure(segment.signal, float(segment.rate or 0)) for segment in segments])
        with replacing(path) as partial, partial.open("wb") as file:
            np.save(file, values)
        return values


def _size_and_age(path: Path) -> list[int]:
    """Of a file, [] where there is none."""
    if not path.is_file():
        return []
    told = path.stat()
    return [told.st_size, told.st_mtime_ns]


def find_data(place: Path, sources: Sequence[str], what: str, cache: Path) -> DataSet:
    """The data set that `place` is, or the first one in a folder of it.

    Args:
        sources: names of ecg-preprocess, any of which will do.
        what: the benchmark, for messages.
    Raises: ConfigError saying which command makes it.
    """
    if not place.is_dir():
        raise ConfigError(f"data={place} is not a folder; give the DEST of ecg-preprocess, or a folder with several")
    there = {}
    for folder in [place, *sorted(path for path in place.iterdir() if path.is_dir())]:
        if (folder / META).is_file() and (folder / "segmented.csv").is_file():
            meta = read_table(folder / META, ["idx", "save_file", "source"], text=TEXT)
            source = str(meta["source"].iloc[0]) if len(meta) else ""
            if source in sources:
                return DataSet(folder, meta, cache / folder.name)
            there[folder] = source
    command = f"ecg-preprocess {sources[0]} {{}} {place / sources[0] if there else f'{place}-preprocessed'}"
    if there:
        found = listed([f"{folder} ({source})" for folder, source in there.items()])
        raise ConfigError(
            f"benchmark {what} needs {' or '.join(sources)}, but data={place} holds {found}. Make it, "
            f"`{command.format('SOURCE')}`, and give the folder in which both lie as data"
        )
    layout = register_source.get(sources[0]).cls.layout
    raise ConfigError(
        f"data={place} holds nothing that ecg-preprocess wrote (no {META}), which benchmark {what} needs. If this is "
        f"the data set as it is published ({layout}), type `{command.format(place)}` and give the new folder as data"
    )
