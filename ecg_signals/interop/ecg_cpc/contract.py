"""The input of ECG-CPC's published file, which states none."""

from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.millivolt import FMB, PUBLISHED, millivolt

RATE = 240  # Hz


def inputs(count: int) -> dict[str, SignalContract]:
    """By name, for a model of `count` leads: as in pretraining 10 s in mV, and the 2.5 s of the comparison."""
    leads = LEADS[:count]
    if len(leads) < count:
        return {}
    return {PUBLISHED: millivolt(RATE, 10, leads), FMB: millivolt(RATE, 2.5, leads)}
