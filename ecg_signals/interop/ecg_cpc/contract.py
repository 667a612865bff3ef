"""The input of ECG-CPC's published file, which states none."""

from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.millivolt import FMB, PUBLISHED, millivolt

RATE = 240  # Hz


def inputs(count: int) -> dict[str, SignalContract]:
    """By name, for a model of 12 leads: as in pretraining 10 s in mV, and 2.5 s as in the comparison; {} for others."""
    return {PUBLISHED: millivolt(RATE, 10), FMB: millivolt(RATE, 2.5)} if count == len(LEADS) else {}
