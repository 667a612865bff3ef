"""CPSC2018: 6,877 records of 6 to 60 s at 500 Hz with nine classes."""

from pathlib import PurePosixPath
from typing import Any

from ecg_signals.config import ConfigError
from ecg_signals.preprocess.comments import age_years, sex_code
from ecg_signals.preprocess.labels import multi_hot
from ecg_signals.preprocess.matching import tell_unmatched
from ecg_signals.preprocess.options import SplitConfig
from ecg_signals.preprocess.source import Source
from ecg_signals.registry import register_source
from ecg_signals.signal.record import Record
from ecg_signals.tables import Table, numbers, read_table

CLASSES = ("Normal", "AF", "I-AVB", "LBBB", "RBBB", "PAC", "PVC", "STD", "STE")  # numbered from 1 in REFERENCE.csv
COLUMNS = ("First_label", "Second_label", "Third_label")


@register_source("cpsc2018", dataclass=SplitConfig)
class Cpsc2018(Source):
    """A record has up to three labels."""

    title = "CPSC 2018 training set (2018.icbeb.org/Challenge.html), the original MATLAB files"
    layout = "REFERENCE.csv and A*.mat, at any depth"
    prefix = "cpsc2018"
    suffix = ".mat"

    def records(self) -> Table:
        table = super().records()
        found = self.paths("reference.csv")
        place = self.folder / (found[0] if found else "REFERENCE.csv")
        reference = read_table(place, ["Recording", *COLUMNS])
        reference["Recording"] = reference["Recording"].fillna("").astype(str)
        there, listed = set(table["name"]), reference["Recording"].tolist()
        lost, without = [name for name in listed if name not in there], sorted(there.difference(listed))
        self.remark(*tell_unmatched(place, listed, lost, len(there), without, "their labels are unknown"))
        for name in COLUMNS:
            reference[name] = numbers(reference, name, "REFERENCE.csv")
            wrong = reference[name][reference[name].notna() & ~reference[name].isin(range(1, len(CLASSES) + 1))]
            if len(wrong):
                raise ConfigError(f"REFERENCE.csv: {name} holds {wrong.iloc[0]:g}; expected 1 to {len(CLASSES)}")
        return table.merge(reference.rename(columns={"Recording": "name"}), on="name", how="left")

    def about(self, path: str) -> dict[str, Any]:
        return {"name": PurePosixPath(path).stem}

    def facts(self, record: Record) -> dict[str, Any]:
        return {"age": age_years(record.metadata.get("age")), "sex": sex_code(record.metadata.get("sex"))}

    def labels(self, meta: Table) -> Table:
        numbers = meta[list(COLUMNS)].to_numpy(dtype=float)
        found = [{CLASSES[int(number) - 1] for number in row if number == number} or None for row in numbers]
        return multi_hot(meta["idx"], found, CLASSES)
