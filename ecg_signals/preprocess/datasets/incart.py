"""St Petersburg INCART: 75 half-hour 12-lead Holter records of 32 patients at 257 Hz."""

import re
from typing import Any

from ecg_signals.preprocess.comments import age_years, known, sex_code
from ecg_signals.preprocess.options import SplitConfig
from ecg_signals.preprocess.source import Source
from ecg_signals.registry import register_source
from ecg_signals.signal.record import Record

_FIELD = re.compile(r"<(\w+)>:?\s*([^<]*)")


@register_source("incart", dataclass=SplitConfig)
class Incart(Source):
    """Headers name age, sex, diagnoses and the patient; several records are of one patient."""

    title = "St Petersburg INCART 12-lead Arrhythmia Database 1.0.0 (physionet.org/content/incartdb)"
    layout = "I*.hea with .dat files"
    prefix = "incart"
    suffix = ".hea"

    def about(self, path: str) -> dict[str, Any]:
        text = (self.folder / path).read_text(encoding="utf-8", errors="replace")
        found = re.search(r"^#.*\bpatient\s+(\d+)", text, re.IGNORECASE | re.MULTILINE)
        return {"patient_id": int(found[1]) if found else None}

    def facts(self, record: Record) -> dict[str, Any]:
        said = {key.lower(): value.strip() for line in record.comments for key, value in _FIELD.findall(line)}
        diagnosis = known(said.get("diagnoses"))
        return {"age": age_years(said.get("age")), "sex": sex_code(said.get("sex")), "diagnosis": diagnosis}
