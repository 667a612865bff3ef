"""Where weights come from: the terms of the published weights they go back to, and how many records trained them."""

from collections.abc import Mapping
from typing import Any

from ecg_signals.limits import shown

FEW_RECORDS = 1000  # a model trained on fewer is called a toy wherever it predicts

Origin = dict[str, Any]  # licence: terms of the published weights; records: that the last training saw


def read_origin(stored: Any) -> Origin:
    """What a file says of its origin, where it says it in the form that is written here."""
    found = stored if isinstance(stored, Mapping) else {}
    kinds = {"licence": str, "records": int}
    known = {key: found[key] for key, kind in kinds.items() if isinstance(found.get(key), kind)}
    return {key: shown(value) if key == "licence" else value for key, value in known.items()}


def inherited(origin: Mapping[str, Any]) -> Origin:
    """What a model that starts from these weights has of their origin: the terms, not the records."""
    return {"licence": origin["licence"]} if origin.get("licence") else {}


def notes(origin: Mapping[str, Any]) -> list[str]:
    """Lines to stand beside what the model says."""
    said = []
    licence, records = origin.get("licence"), origin.get("records")
    if licence:
        said.append(f"weights: {licence}" + (", not for commercial use" if "NC" in licence else ""))
    if records is not None and records < FEW_RECORDS:
        said.append(f"toy model trained on {records} record{'' if records == 1 else 's'}: not for use on patients")
    return said
