"""Telling from the values of a batch whether it was scaled as in training."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Leads = list[np.ndarray]


def scale_problem(source: np.ndarray, steps: Sequence[Mapping[str, Any]]) -> str | None:
    """What is wrong with the values of a batch, None if nothing is visible.

    Looks at what is typical of the batch: flat leads and zero padding are passed over, and one odd lead or record
    does not count. Thresholds lie between prepared and raw values of 159 PTB-XL and Challenge records.

    Args:
        source: [batch, leads, samples].
        steps: of the contract; the one that scales says what to expect.
    """
    found = next((step for step in reversed(steps) if step["name"] in _EXPECTATIONS), None)
    records = [[lead[lead != 0] for lead in record] for record in source]
    records = [[lead for lead in record if len(lead) > 1 and lead.min() < lead.max()] for record in records]
    records = [record for record in records if record]
    if found is None or not records:
        return None
    return _EXPECTATIONS[found["name"]](records, found)


def _typical(measure: Callable[[np.ndarray], float], records: list[Leads]) -> float:
    return float(np.median([measure(lead) for record in records for lead in record]))


def _scaled(records: list[Leads], step: Mapping[str, Any]) -> str | None:
    """Leads stretched to [-1, 1] have one span and reach -1; raw ones differ among each other."""
    spans = [np.array([np.ptp(lead) for lead in record]) for record in records]
    uneven = float(np.median([span.std() / span.mean() for span in spans]))
    low, peak = _typical(np.min, records), _typical(lambda lead: np.abs(lead).max(), records)
    if peak <= 1.5 and (uneven <= 0.3 or abs(low + 1) <= 0.3):
        return None
    return f"source has leads from {low:.3g} with peaks of {peak:.3g}; the model was trained on leads from -1 to 1"


def _standardised(records: list[Leads], step: Mapping[str, Any]) -> str | None:
    if step.get("jointly"):
        spread = float(np.median([np.concatenate(record).std() for record in records]))
        kind, offset = "all leads together", 0.0
    else:
        spread, offset = _typical(np.std, records), _typical(lambda lead: abs(lead.mean()), records)
        kind = "each lead"
    if 0.5 < spread < 2 and offset <= 1:
        return None
    return f"source has the standard deviation {spread:.3g}; the model was trained on z-scores of {kind} (deviation 1)"


def _clipped(records: list[Leads], step: Mapping[str, Any]) -> str | None:
    peak = max(np.abs(lead).max() for record in records for lead in record)
    spread = _typical(np.std, records)
    if peak <= step["limit"] * 1.001 and 0.3 < spread < 4:
        return None
    found = f"source has the standard deviation {spread:.3g} and a peak of {peak:.3g}"
    return f"{found}; the model was trained on normalised leads (deviation about 1), clipped to +-{step['limit']:g}"


_EXPECTATIONS = {"scale": _scaled, "standardise": _standardised, "clip": _clipped}
