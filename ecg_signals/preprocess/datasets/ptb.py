"""PTB: 549 records of 290 patients at 1000 Hz, with diagnoses in the headers."""

from pathlib import PurePosixPath
from typing import Any

from ecg_signals.preprocess.comments import known, patient_facts
from ecg_signals.preprocess.labels import multi_hot
from ecg_signals.preprocess.options import SplitConfig
from ecg_signals.preprocess.source import Source
from ecg_signals.registry import register_source
from ecg_signals.signal.record import Record
from ecg_signals.tables import Table

DATES = {"ecg_date": "ecg date", "infarction_date": "infarction date (acute)",
         "catheterization_date": "catheterization date"}  # fmt: skip


@register_source("ptb", dataclass=SplitConfig)
class Ptb(Source):
    """One label per reason for admission; a record whose header names none has unknown labels."""

    title = "PTB Diagnostic ECG Database 1.0.0 (physionet.org/content/ptbdb)"
    layout = "patient*/s*.hea with .dat and .xyz files"
    prefix = "ptb"
    suffix = ".hea"

    def about(self, path: str) -> dict[str, Any]:
        return {"patient_id": PurePosixPath(path).parent.name or None}

    def facts(self, record: Record) -> dict[str, Any]:
        reason = known(record.metadata.get("reason for admission"))
        more = known(record.metadata.get("additional diagnoses"))
        dates = {name: known(record.metadata.get(key)) for name, key in DATES.items()}
        return patient_facts(record.metadata) | {"diagnosis": reason, "additional_diagnoses": more} | dates

    def labels(self, meta: Table) -> Table | None:
        found = [{text} if isinstance(text, str) and text.lower() != "n/a" else None for text in meta["diagnosis"]]
        return multi_hot(meta["idx"], found) if any(found) else None
