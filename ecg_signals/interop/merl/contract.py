"""The input of MERL's published files, which state none."""

from typing import Any

from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.leads import LEADS, MIMIC_LEADS
from ecg_signals.signal.millivolt import FMB, PUBLISHED, millivolt


def merl(window_samples: int = 5000) -> SignalContract:
    """MERL: 10 s at 500 Hz, leads as MIMIC-IV-ECG stores them, all together scaled to [0, 1].

    A window is scaled by itself; one that is filled up with zeros behind them, so that these are no minimum.
    """
    steps: list[dict[str, Any]] = [
        {"name": "interpolate_nan"}, {"name": "resample", "method": "fourier"}, {"name": "window"}, {"name": "pad"},
        {"name": "min_max"},
    ]  # fmt: skip
    return SignalContract(500.0, list(MIMIC_LEADS), window_samples, steps)


def inputs(count: int, window_samples: int = 5000) -> dict[str, SignalContract]:
    """By name, for a model of `count` leads that has positions for so many samples; none for other than 12."""
    if count != len(LEADS):
        return {}
    return {PUBLISHED: merl(window_samples), FMB: millivolt(500, min(2.5, window_samples / 500))}
