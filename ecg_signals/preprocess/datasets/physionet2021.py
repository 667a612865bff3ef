"""PhysioNet/CinC Challenge 2021: WFDB records of several hospitals with SNOMED CT codes in their headers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ecg_signals.config import ConfigError, option
from ecg_signals.metrics.cinc_codes import SCORED, codes_of
from ecg_signals.preprocess.comments import patient_facts
from ecg_signals.preprocess.labels import multi_hot
from ecg_signals.preprocess.options import SplitConfig
from ecg_signals.preprocess.source import Source
from ecg_signals.registry import register_source
from ecg_signals.signal.record import Record
from ecg_signals.tables import Table, read_table


@dataclass
class Physionet2021Config(SplitConfig):
    uncombined: bool = option(False, "one label per code (30) instead of one per class scored as one (26)")
    weights_path: str | None = option(None, "the Challenge's weights.csv, whose rows name the classes; unset: built in")
    weight_abbrev_path: str | None = option(None, "the same table with abbreviations as names, in the same order")


@register_source("physionet2021", dataclass=Physionet2021Config)
class Physionet2021(Source):
    """Any tree of .hea files; a record's dataset is the first folder below SOURCE, or below `training/`."""

    title = "PhysioNet/CinC Challenge 2021 (physionet.org/content/challenge-2021), or any tree of its records"
    layout = "WFDB records (.hea with .mat or .dat) at any depth, one folder per hospital"
    prefix = "physionet2021"
    suffix = ".hea"

    def about(self, path: str) -> dict[str, Any]:
        parts = PurePosixPath(path).parts
        start = parts.index("training") + 1 if "training" in parts[:-1] else 0
        name = PurePosixPath(*parts[start:])
        dataset = name.parts[0] if len(name.parts) > 1 else self.folder.name
        return {"dataset": dataset, "name": str(name.with_suffix(""))}

    def facts(self, record: Record) -> dict[str, Any]:
        return {"age": None, "sex": None, "diagnosis": None} | patient_facts(record.metadata)

    def labels(self, meta: Table) -> Table:
        classes = self.classes()
        codes = [codes_of(text) if isinstance(text, str) else None for text in meta["diagnosis"]]
        found = [
            None if own is None else {name for name in classes if own.intersection(classes[name])} for own in codes
        ]
        return multi_hot(meta["idx"], found, list(classes))

    def classes(self) -> dict[str, Sequence[str]]:
        """Label name -> the codes that mean it."""
        scored = SCORED
        if self.cfg.weights_path:
            codes = _first_column(Path(self.cfg.weights_path))
            names = _first_column(Path(self.cfg.weight_abbrev_path)) if self.cfg.weight_abbrev_path else codes
            if len(names) != len(codes):
                raise ConfigError(
                    f"{self.cfg.weight_abbrev_path} has {len(names)} rows, {self.cfg.weights_path} {len(codes)}; "
                    "give two tables of the same classes in the same order"
                )
            scored = dict(zip(names, codes))
        if not self.cfg.uncombined:
            return {name: codes.split("|") for name, codes in scored.items()}
        single: dict[str, Sequence[str]] = {}
        for name, joined in scored.items():
            parts, each = name.split("_"), joined.split("|")
            single.update({part: [code] for part, code in zip(parts if len(parts) == len(each) else each, each)})
        return single


def _first_column(path: Path) -> list[str]:
    """The row names of a weights table, whose first column has no header."""
    return read_table(path.expanduser(), ["name"], unnamed="name")["name"].astype(str).tolist()
