"""The input contract of models that are trained on the segments which ecg-preprocess writes."""

from collections.abc import Sequence
from typing import Any

from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.leads import LEADS


def segment_contract(
    sample_rate: float = 500,
    leads: Sequence[str] = LEADS,
    window_samples: int = 2500,
    *,
    zero_missing_leads: bool = False,
    filtered: bool = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    clip: float | None = None,
) -> SignalContract:
    """A model trained on z-scored records cut into segments.

    Args:
        sample_rate: Hz of the segments.
        leads: that the model takes, in order.
        window_samples: of a segment.
        zero_missing_leads: True if it was trained with random lead masking.
        filtered: `task.filter` was on: every segment passes the filter `clean`.
        mean, std: `task.normalize` was on: one number per lead of `leads`, applied last.
        clip: largest value behind all of these, and smallest.
    """
    steps: list[dict[str, Any]] = [
        {"name": "resample", "method": "linear"},
        {"name": "standardise", "constant": "zero"},
    ]
    if filtered or mean is not None:
        steps.append({"name": "window"})
    if filtered:
        steps.append({"name": "clean"})
    if mean is not None and std is not None:
        steps.append({"name": "normalise", "mean": list(mean), "std": list(std)})
    if clip is not None:
        steps.append({"name": "clip", "limit": float(clip)})
    return SignalContract(float(sample_rate), list(leads), window_samples, steps, zero_missing_leads=zero_missing_leads)
