"""Records from bare arrays: rate, lead names and units as stated by the file, by the caller, or assumed."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.readers.units import voltage_factor
from ecg_signals.signal.leads import LEADS, lead_name
from ecg_signals.signal.record import Record

ASSUMED_RATE = 500  # Hz


@dataclass
class Stated:
    """What a file, or else the caller, says about an array; None: nothing."""

    sample_rate: float | None = None
    leads: list[str] | None = None
    units: str | None = None

    def over(self, other: "Stated") -> "Stated":
        """This, completed by `other` where it says nothing."""
        rate = self.sample_rate if self.sample_rate is not None else other.sample_rate
        return Stated(rate, self.leads or other.leads, self.units or other.units)


def array_record(
    path: Path, values: np.ndarray, stated: Stated, metadata: dict[str, Any], *, comments: list[str]
) -> Record:
    """A Record from an array whose longer axis is time.

    Raises: ConfigError for an array that is no [leads, samples] of real numbers, for lead names that do not fit, for
        more than twelve or fewer unnamed leads.
    """
    if values.ndim == 1:
        values = values[None]
    if values.ndim != 2 or values.dtype.kind not in "fiub" or not values.size:
        found = f"shape {values.shape}, type {values.dtype}"
        raise ConfigError(f"{path} holds an array of {found}; expected numbers [leads, samples]")
    names = stated.leads
    count = len(names) if names else len(LEADS)
    if values.shape[0] != count and values.shape[1] == count:
        values = values.T
    if values.shape[0] != count:
        hint = "name them in order with leads=I,II,..." if not names else "one name per lead, please"
        raise ConfigError(f"{path} holds an array of shape {values.shape}, but {count} leads were expected; {hint}")
    rate = stated.sample_rate
    if rate is None:
        rate = ASSUMED_RATE
        warnings.warn(f"{path} states no sample rate; {rate} Hz assumed. Give it with sample_rate=", stacklevel=2)
    if not 0 < rate < float("inf"):
        raise ConfigError(f"{path} has the sample rate {rate} Hz; it must be positive. Set it with sample_rate=")
    factor = voltage_factor(stated.units, str(path)) if stated.units else 1.0
    signal = np.array(values if factor == 1 else values.astype(np.float64) * factor, dtype=np.float32, order="C")
    signal[~np.isfinite(signal)] = np.nan
    rate = int(rate) if rate == int(rate) else float(rate)
    return Record(signal, rate, [lead_name(name) for name in names or LEADS], comments, metadata)
