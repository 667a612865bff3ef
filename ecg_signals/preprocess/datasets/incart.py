"""St Petersburg INCART: 75 half-hour 12-lead Holter records of 32 patients at 257 Hz."""

import re
from typing import TYPE_CHECKING, Any

from ecg_signals.preprocess.comments import age_years, known, sex_code
from ecg_signals.preprocess.options import SplitConfig
from ecg_signals.preprocess.source import Source, walk
from ecg_signals.registry import register_source

if TYPE_CHECKING:
    import pandas as pd

    from ecg_signals.signal.record import Record

_FIELD = re.compile(r"<(\w+)>:?\s*([^<]*)")


@register_source("incart", dataclass=SplitConfig)
class Incart(Source):
    """Headers name age, sex, diagnoses and the patient; several records are of one patient."""

    title = "St Petersburg INCART 12-lead Arrhythmia Database 1.0.0 (physionet.org/content/incartdb)"
    layout = "I*.hea with .dat files"
    prefix = "incart"

    def records(self) -> "pd.DataFrame":
        import pandas as pd

        paths = list(walk(self.folder, ".hea", self.skip))
        texts = [(self.folder / path).read_text(encoding="utf-8", errors="replace") for path in paths]
        patients = [re.search(r"^#.*\bpatient\s+(\d+)", text, re.IGNORECASE | re.MULTILINE) for text in texts]
        numbers = [int(found[1]) if found else None for found in patients]
        return pd.DataFrame({"path": paths, "patient_id": pd.Series(numbers, dtype="Int64").astype(object)})

    def facts(self, record: "Record") -> dict[str, Any]:
        said = {key.lower(): value.strip() for line in record.comments for key, value in _FIELD.findall(line)}
        diagnosis = known(said.get("diagnoses"))
        return {"age": age_years(said.get("age")), "sex": sex_code(said.get("sex")), "diagnosis": diagnosis}
