"""The input contract of models that take records in mV as they are, but for their rate."""

from collections.abc import Sequence

from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.leads import LEADS

PUBLISHED, FMB = "published", "fmb"  # names of input contracts (`BaseModel.inputs`)


def millivolt(sample_rate: float, seconds: float, leads: Sequence[str] = LEADS) -> SignalContract:
    """Missing samples 0, Fourier resampling, windows of `seconds`, no normalisation.

    It is what Al-Masud et al. 2025, Benchmarking ECG Foundational Models, arXiv:2509.25095, feed every model with, each
    at its rate.
    """
    steps = [{"name": "nan_to_zero"}, {"name": "resample", "method": "fourier"}]
    return SignalContract(float(sample_rate), list(leads), round(seconds * sample_rate), steps)
