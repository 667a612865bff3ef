"""The input of the published files of Kim's ECG-JEPA, which state none."""

from collections.abc import Sequence
from typing import Any

from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.millivolt import FMB, PUBLISHED, millivolt

EIGHT = (*LEADS[:2], *LEADS[6:])  # the others follow from I and II


def ecg_jepa_kim(samples: int = 2500, leads: Sequence[str] = EIGHT) -> SignalContract:
    """Kim's ECG-JEPA: 10 s of eight leads at 250 Hz, in mV, neither filtered nor scaled.

    Args:
        samples: of the window that the encoder has positions for.
        leads: that the encoder takes.
    """
    steps: list[dict[str, Any]] = [{"name": "interpolate_nan"}, {"name": "resample", "method": "fourier"}]
    return SignalContract(250.0, list(leads), samples, steps)


def inputs(samples: int, leads: Sequence[str]) -> dict[str, SignalContract]:
    """By name."""
    return {PUBLISHED: ecg_jepa_kim(samples, leads), FMB: millivolt(250, samples / 250, leads)}
