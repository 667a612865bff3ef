"""CODE-15%: 345,779 Brazilian records at 400 Hz in 18 HDF5 parts, with six abnormalities."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ecg_signals.config import option
from ecg_signals.preprocess.options import SplitConfig
from ecg_signals.preprocess.source import Row, Source
from ecg_signals.registry import register_source
from ecg_signals.signal.record import Record
from ecg_signals.tables import Table, numbers, read_table

LABELS = ("is_male", "1dAVb", "RBBB", "LBBB", "SB", "ST", "AF", "normal_ecg")


@dataclass
class Code15Config(SplitConfig):
    scale: float = option(1.0, "factor to mV; the files state no unit and are taken as mV, as ECG-FM does")


@register_source("code15", dataclass=Code15Config)
class Code15(Source):
    """Samples that are zero in all leads at either end are padding and cut off.

    A folder of fairseq-signals' own making, with meta.csv and org/*.mat instead of the HDF5 parts, works too.
    """

    title = "CODE-15% 1.0.0 (zenodo.org/records/4916206)"
    layout = "exams.csv and exams_part*.hdf5, or meta.csv and org/*.mat as fairseq-signals writes them"
    prefix = "code_15"
    reading_options = ("scale",)

    def records(self) -> Table:
        if not (self.folder / "exams.csv").is_file() and (self.folder / "org").is_dir():
            table = read_table(self.folder / "meta.csv", ["exam_id", "save_file"])
            table = table.assign(path="org/" + table["save_file"])
            table = table.loc[:, : "trace_file" if "trace_file" in table.columns else "path"].assign(path=table["path"])
            table = table.drop(columns=["idx", "save_file"], errors="ignore")
        else:
            table = read_table(self.folder / "exams.csv", ["exam_id", "trace_file"])
            table = table.assign(path=table["trace_file"].fillna("").astype(str), record_id=table["exam_id"])
        female = 1.0 - numbers(table, "is_male", "the table of exams") if "is_male" in table else np.nan
        return table.assign(name=table["exam_id"].astype(str), sex=female)

    def reading(self, row: Row) -> dict[str, Any]:
        units = None if self.cfg.scale == 1 else f"{self.cfg.scale!r}mV"
        return {"id": row.get("record_id"), "units": units}

    def read(self, row: Row) -> Record:
        record = super().read(row)
        record.signal = without_padding(record.signal)
        return record

    def labels(self, meta: Table) -> Table:
        return meta[["idx", *(name for name in LABELS if name in meta.columns)]]


def without_padding(signal: np.ndarray) -> np.ndarray:
    """[leads, samples] without the samples at either end that are zero in all leads; all zeros stay as they are."""
    used = np.flatnonzero((signal != 0).any(axis=0))
    return signal[:, used[0] : used[-1] + 1] if len(used) else signal
