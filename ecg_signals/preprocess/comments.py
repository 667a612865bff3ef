"""What the comment lines of a WFDB header say about the patient, in the names of meta.csv."""

import math
from collections.abc import Mapping
from typing import Any

_SEX = {"female": 1, "f": 1, "male": 0, "m": 0}
_UNKNOWN = ("", "unknown", "nan", "none", "n/a")


def age_years(text: Any) -> float:
    """Years; NaN for anything that is no number."""
    try:
        return float(str(text).strip().rstrip("yY"))
    except ValueError:
        return math.nan


def sex_code(text: Any) -> float:
    """1 female, 0 male, NaN unknown."""
    return float(_SEX.get(str(text).strip().lower(), math.nan))


def known(text: Any) -> str | None:
    """The text, or None where it says that it is unknown."""
    return None if text is None or str(text).strip().lower() in _UNKNOWN else str(text).strip()


def patient_facts(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """age, sex, diagnosis (codes with commas), rx, hx, sx, as far as the header names them."""
    facts: dict[str, Any] = {}
    if "age" in metadata:
        facts["age"] = age_years(metadata["age"])
    if "sex" in metadata:
        facts["sex"] = sex_code(metadata["sex"])
    if "dx" in metadata:
        facts["diagnosis"] = known(str(metadata["dx"]).replace(" ", ""))
    return facts | {key: known(metadata[key]) for key in ("rx", "hx", "sx") if key in metadata}
