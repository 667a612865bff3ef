"""What a label's name means, and its codes.

`labels.csv` holds the 71 statements of PTB-XL (`scp_statements.csv`), the scored diagnoses of the Challenge 2021 and
ECG-FM's 17 labels. A SNOMED CT code is there where the Challenge states it for that name or meaning, or for the AHA
statement that PTB-XL names; what no source states is empty.
"""

import csv
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Meaning:
    """One label.

    Attributes:
        name: as models and tables call it.
        text: in words.
        snomed_ct, scp_ecg: its codes, empty where no source states one.
    """

    name: str
    text: str
    snomed_ct: str = ""
    scp_ecg: str = ""


def meaning(label: str) -> Meaning | None:
    """Of a name, exactly as it is written, of a SNOMED CT code, or of several joined by "|" or "_", as classes that
    the Challenge scores as one are called: those have no code, since it would be that of one of them. None of others.
    """
    known = _known()
    if label in known:
        return known[label]
    parts = [known.get(part) for part in re.split(r"[|_]", label)]
    found = [part for part in parts if part is not None]
    if len(found) < max(2, len(parts)):
        return None
    return Meaning(label, " or ".join(dict.fromkeys(part.text for part in found)))


@cache
def _known() -> dict[str, Meaning]:
    """By name, and by code where no name is written so; of equal codes the first."""
    with files("ecg_signals.signal").joinpath("labels.csv").open(encoding="utf-8") as lines:
        rows = [Meaning(row["name"], row["meaning"], row["snomed_ct"], row["scp_ecg"]) for row in csv.DictReader(lines)]
    codes = {row.snomed_ct: row for row in reversed(rows) if row.snomed_ct}
    return codes | {row.name: row for row in rows}
