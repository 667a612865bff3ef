"""SaMi-Trop: 1,631 records of patients with Chagas disease at 400 Hz, with survival."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ecg_signals.preprocess.options import SplitConfig
from ecg_signals.preprocess.source import Source
from ecg_signals.registry import register_source
from ecg_signals.tables import numbers, read_table

if TYPE_CHECKING:
    import pandas as pd

    from ecg_signals.signal.record import Record

LABELS = ("is_male", "normal_ecg", "death")


@register_source("samitrop", dataclass=SplitConfig)
class Samitrop(Source):
    """The rows of exams.csv and of the tracings are in the same order; zeros at both ends are padding and cut off."""

    title = "SaMi-Trop 1.0.0 (zenodo.org/records/4905618)"
    layout = "exams.csv and exams.hdf5"
    prefix = "samitrop"

    def records(self) -> "pd.DataFrame":
        table = read_table(self.folder / "exams.csv", ["exam_id", "is_male", "normal_ecg", "death"])
        female = 1.0 - numbers(table, "is_male", "the table of exams")
        return table.assign(
            path="exams.hdf5", name=table["exam_id"].astype(str), record_id=range(len(table)), sex=female
        )

    def read(self, row: Mapping[str, Any]) -> "Record":
        from ecg_signals.readers.read import read_record

        return read_record(self.folder / row["path"], row["record_id"], dtype=self.cfg.dtype)

    def labels(self, meta: "pd.DataFrame") -> "pd.DataFrame":
        return meta[["idx", *LABELS]]
