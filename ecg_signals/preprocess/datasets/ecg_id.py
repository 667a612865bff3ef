"""ECG-ID: 310 one-lead records of 20 s at 500 Hz of 90 persons, for identification."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from ecg_signals.config import option
from ecg_signals.preprocess.comments import patient_facts
from ecg_signals.preprocess.options import SplitConfig
from ecg_signals.preprocess.source import Row, Source
from ecg_signals.registry import register_source
from ecg_signals.signal.record import Record


@dataclass
class EcgIdConfig(SplitConfig):
    leads: list[str] = option(["I"], "the set has lead I alone")
    filtered: bool = option(True, "take the filtered signal; false: the raw one")


@register_source("ecg_id", dataclass=EcgIdConfig)
class EcgId(Source):
    """Every file has lead I twice, raw and filtered; the folder names the person."""

    title = "ECG-ID 1.0.0 (physionet.org/content/ecgiddb)"
    layout = "Person_*/rec_*.hea with .dat files"
    prefix = "ecg_id"
    suffix = ".hea"
    reading_options = ("filtered",)

    def about(self, path: str) -> dict[str, Any]:
        return {"patient_id": PurePosixPath(path).parent.name.rpartition("_")[2] or None}

    def read(self, row: Row) -> Record:
        record = super().read(row)
        chosen = 1 if self.cfg.filtered and len(record.leads) > 1 else 0
        record.signal, record.leads = record.signal[chosen : chosen + 1], ["I"]
        return record

    def facts(self, record: Record) -> dict[str, Any]:
        date = {"date": record.metadata["ecg date"]} if "ecg date" in record.metadata else {}
        return patient_facts(record.metadata) | date
