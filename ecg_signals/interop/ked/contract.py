"""The input of KED's published file, which states none."""

from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.millivolt import FMB, PUBLISHED, millivolt


def inputs(count: int) -> dict[str, SignalContract]:
    """By name, for a model of 12 leads: 10 s in mV, at 100 Hz as in its program, at 500 Hz in the comparison.

    {} for others.
    """
    return {PUBLISHED: millivolt(100, 10), FMB: millivolt(500, 10)} if count == len(LEADS) else {}
