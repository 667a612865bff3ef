"""The input of ST-MEM's published files, which state none."""

from collections.abc import Sequence
from typing import Any

from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.leads import LEADS


def st_mem(window_samples: int = 2250, leads: Sequence[str] = LEADS) -> SignalContract:
    """ST-MEM, MTAE and MLAE: windows of 9 s at 250 Hz, filtered to 0.67-40 Hz, standardised over all leads together.

    Args:
        window_samples: `seq_len` of the encoder.
        leads: that the encoder takes.
    """
    steps: list[dict[str, Any]] = [
        {"name": "resample", "method": "fourier"},
        {"name": "window"},
        {"name": "high_pass", "cutoff": 0.67},
        {"name": "low_pass", "cutoff": 40.0},
        {"name": "standardise", "jointly": True},
    ]
    return SignalContract(250.0, list(leads), window_samples, steps)
