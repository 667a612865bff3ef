"""The input of ECGFounder's published files, which state none."""

from collections.abc import Sequence
from typing import Any

from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.millivolt import FMB, PUBLISHED, millivolt


def ecgfounder(leads: Sequence[str] = LEADS) -> SignalContract:
    """ECGFounder: 10 s at 500 Hz, without hum and baseline wander, standardised over all leads together."""
    steps: list[dict[str, Any]] = [
        {"name": "nan_to_zero"},
        {"name": "resample", "method": "halved"},
        {"name": "notch", "frequency": 50.0, "quality": 30.0},
        {"name": "butterworth_band", "low": 0.67, "high": 40.0, "order": 4},
        {"name": "median_baseline", "seconds": 0.4},
        {"name": "window"},
        {"name": "standardise", "jointly": True, "epsilon": 1e-8},
    ]
    return SignalContract(500.0, list(leads), 5000, steps)


def inputs(count: int) -> dict[str, SignalContract]:
    """By name, for a model of `count` leads: published are 12, and lead I; which others are is not known."""
    leads = LEADS[:count]
    return {PUBLISHED: ecgfounder(leads), FMB: millivolt(500, 2.5, leads)} if count in (1, len(LEADS)) else {}
