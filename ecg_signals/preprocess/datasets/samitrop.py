"""SaMi-Trop: 1,631 records of patients with Chagas disease at 400 Hz, with survival."""

from typing import Any

from ecg_signals.preprocess.options import SplitConfig
from ecg_signals.preprocess.source import Row, Source
from ecg_signals.registry import register_source
from ecg_signals.tables import Table, numbers, read_table

LABELS = ("is_male", "normal_ecg", "death")


@register_source("samitrop", dataclass=SplitConfig)
class Samitrop(Source):
    """The rows of exams.csv and of the tracings are in the same order; zeros at both ends are padding and cut off."""

    title = "SaMi-Trop 1.0.0 (zenodo.org/records/4905618)"
    layout = "exams.csv and exams.hdf5"
    prefix = "samitrop"

    def records(self) -> Table:
        table = read_table(self.folder / "exams.csv", ["exam_id", "is_male", "normal_ecg", "death"])
        female = 1.0 - numbers(table, "is_male", "the table of exams")
        return table.assign(
            path="exams.hdf5", name=table["exam_id"].astype(str), record_id=range(len(table)), sex=female
        )

    def reading(self, row: Row) -> dict[str, Any]:
        return {"id": row["record_id"]}

    def labels(self, meta: Table) -> Table:
        return meta[["idx", *LABELS]]
