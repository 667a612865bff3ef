"""What a dataset tells the pipeline: which records there are, how one is read, its labels and its splits."""

import os
from abc import ABC
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar

from ecg_signals.config import ConfigError
from ecg_signals.preprocess.options import PreprocessConfig
from ecg_signals.signal.record import Record
from ecg_signals.signal.resample import resample_linear
from ecg_signals.tables import Column, Table

if TYPE_CHECKING:
    import numpy as np

Row = Mapping[str, Any]  # one row of records.csv
JOURNALS = ("progress.jsonl", "progress_hubert.jsonl")  # a folder with one of them was made by ecg-preprocess


class Source(ABC):
    """One dataset below `folder`; `ecg-preprocess NAME SOURCE DEST` reads it.

    Extend it, write `records`, override what is otherwise here, and name it with
    `@register_source("name", dataclass=SplitConfig)`, or with options of your own that extend SplitConfig, as the
    published datasets in `preprocess/datasets/` do.

    Class attributes:
        title: what it is, one line.
        layout: what must lie in SOURCE, one line.
        prefix: what file names start with, and the column `source`.
        suffix: of the record files, lower case, where they alone say which records there are.
        reading_options: those of its options that change the signals that `read` returns.
        without_split: why `split` has none for a record.
    """

    title: ClassVar[str]
    layout: ClassVar[str]
    options_class: ClassVar[type[PreprocessConfig]] = PreprocessConfig  # that the registered dataclass extends
    prefix: ClassVar[str]
    suffix: ClassVar[str]
    reading_options: ClassVar[tuple[str, ...]] = ()
    without_split: ClassVar[str] = "its table names no split for it"

    def __init__(self, folder: Path, cfg: Any, skip: Path | None = None) -> None:
        """
        Args:
            cfg: an instance of the registered dataclass.
            skip: a folder below `folder` that holds no records: DEST, if it lies there.
        """
        self.folder, self.cfg, self.skip = folder, cfg, skip
        self.remarks: list[str] = []  # about the tables, for the report

    def remark(self, *texts: str) -> None:
        self.remarks += [text for text in texts if text not in self.remarks]

    @classmethod
    def locate(cls, folder: Path, cfg: Any) -> Path:
        """The folder that holds the dataset; SOURCE itself. Raises: ConfigError saying what is expected there."""
        if not folder.is_dir():
            raise ConfigError(f"SOURCE {folder} is not a folder; {cls.prefix} expects {cls.layout}")
        return folder

    def records(self) -> Table:
        """One row per record: `path` (below `folder`, with /) and whatever else is known before reading.

        `patient_id`, `age` (years), `sex` (1 female, 0 male) and `report` have these names in every dataset; `name`,
        if there, is used for the file names instead of the path. Here: every file with `suffix`.
        """
        import pandas as pd

        return pd.DataFrame([{"path": path, **self.about(path)} for path in self.paths()], dtype=object)

    def about(self, path: str) -> dict[str, Any]:
        """What the path of a record file says about it, by column."""
        return {}

    def paths(self, suffix: str = "") -> list[str]:
        """Files below SOURCE whose name ends in `suffix`, or in that of the record files; see `walk`."""
        return list(walk(self.folder, suffix or self.suffix, self.skip))

    def read(self, row: Row) -> Record:
        """The record of one row. Raises: ConfigError if its files are missing or broken."""
        from ecg_signals.readers.read import read_record

        return read_record(self.folder / row["path"], dtype=self.cfg.dtype, **self.reading(row))

    def reading(self, row: Row) -> dict[str, Any]:
        """Further options of `read_record` for one row."""
        return {}

    def files(self, row: Row) -> list[Path]:
        """The files that the record is read from; if one changes, the record is processed again."""
        path = self.folder / row["path"]
        return [path, path.with_suffix(".dat"), path.with_suffix(".mat")] if path.suffix == ".hea" else [path]

    def tables(self) -> list[Path]:
        """Tables that the user wrote, which nothing may be written over."""
        return [Path(self.cfg.label_file).expanduser()] if self.cfg.label_file else []

    def facts(self, record: Record) -> dict[str, Any]:
        """Further columns of meta.csv that only the record itself tells."""
        return {}

    def settings(self, row: Row) -> Any:
        """`cfg` as it holds for one row, which may have leads of its own."""
        return self.cfg

    def resample(self, signal: "np.ndarray", rate: float, wanted: float) -> "np.ndarray":
        """[leads, samples] at `rate` Hz -> the same at `wanted` Hz."""
        return resample_linear(signal, rate, wanted)

    def values(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Further arrays of every segment's .mat file, from what is known of the record."""
        return {}

    def tracks(self, row: Row, stored: int, samples: int, rate: float) -> "dict[str, np.ndarray]":
        """Values per sample that are cut into segments together with the signal, by their key in the .mat file.

        Args:
            stored: samples of the record as read.
            samples: samples of the resampled record.
            rate: Hz of the record as read.
        Returns: arrays [samples].
        """
        return {}

    def array_name(self, row: Row) -> str:
        """What HuBERT-ECG's tables call a record: its file's name with .npy behind it, as in the published splits."""
        name = row["name"] if row.get("record_id") is not None else PurePosixPath(row["path"]).name
        return f"{str(name).removesuffix('.npy')}.npy"

    def labels(self, meta: Table) -> Table | None:
        """idx + one column of 0, 1 or NaN per label, in the order of the outputs; None: the dataset has none."""
        return None

    def split(self, meta: Table) -> Column | None:
        """The published split of every row ("train", "valid", "test" or None); None: make a seeded one."""
        return None


def walk(folder: Path, suffix: str, skip: Path | None = None) -> Iterator[str]:
    """Files below `folder` whose name ends in `suffix` (lower case), as sorted paths below it with /.

    What an earlier run wrote to a folder below it holds no records.
    Raises: ConfigError if `skip`, where this run writes, is `folder` itself.
    """
    if skip is not None and skip == folder:
        raise ConfigError(f"DEST is SOURCE, {folder}: outputs would mix with your files. Give another folder as DEST")
    found = []
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".") and Path(parent, name) != skip]
        below = os.path.relpath(parent, folder).replace(os.sep, "/")
        if below != "." and not set(JOURNALS).isdisjoint(names):
            folders.clear()
            continue
        prefix = "" if below == "." else below + "/"
        found += [prefix + name for name in names if name.lower().endswith(suffix) and not name.startswith(".")]
    yield from sorted(found)
