"""Records from bare arrays: rate, lead names and units as stated by the file, by the caller, or assumed."""

import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.limits import HIGHEST_RATE, LOWEST_RATE, believable
from ecg_signals.readers.units import voltage_factor
from ecg_signals.signal.leads import LEADS, upright_lead
from ecg_signals.signal.record import Record

ASSUMED_RATE = 500  # Hz, of PTB-XL and most of the Challenge's records; said where it is assumed


@dataclass
class Stated:
    """What a file, or else the caller, says about an array; None: nothing.

    `dtype` is what the caller computes in, `personal` whether names and ids are asked for; `format` and `gain` tell
    what a bare signal file holds.
    """

    sample_rate: float | None = None
    leads: list[str] | None = None
    units: str | None = None
    dtype: str = "float32"
    personal: bool = False
    format: str | None = None
    gain: float | None = None

    def over(self, other: "Stated") -> "Stated":
        """This, completed by `other` where it says nothing."""
        rate = self.sample_rate if self.sample_rate is not None else other.sample_rate
        dtype = other.dtype if self.dtype == "float32" else self.dtype
        return replace(
            self, sample_rate=rate, leads=self.leads or other.leads, units=self.units or other.units, dtype=dtype,
            personal=self.personal or other.personal,
        )  # fmt: skip

    def with_caller(self, path: Path, caller: "Stated") -> "Stated":
        """This, what the file says, completed by the caller, whose units count more than the file's; says so."""
        if self.sample_rate is not None and caller.sample_rate is not None and self.sample_rate != caller.sample_rate:
            found = f"{self.sample_rate:g} Hz; the {caller.sample_rate:g} Hz that were given are not used"
            warnings.warn(f"{path} says {found}", stacklevel=5)
        if self.units and caller.units and voltage_factor(self.units, str(path)) != voltage_factor(caller.units, "it"):
            warnings.warn(f"{path} says {self.units}; it is read in {caller.units}, as was asked for", stacklevel=5)
        return replace(self.over(caller), units=caller.units or self.units)


def array_record(
    path: Path, values: np.ndarray, stated: Stated, metadata: dict[str, Any], *, comments: list[str]
) -> Record:
    """A Record, in mV, from an array whose longer axis is time, in the stated units (mV where none are) and Hz.

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
        warnings.warn(f"{path} states no sample rate; {rate} Hz assumed. Give it with sample_rate=", stacklevel=5)
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        believed = f"from {LOWEST_RATE:g} to {HIGHEST_RATE:g} Hz are believed"
        raise ConfigError(f"{path} has the sample rate {rate} Hz; {believed}. Set it with sample_rate=")
    believable(np.dtype(stated.dtype).itemsize * values.size, os.path.getsize(path), f"{path}: its signal")
    factor = voltage_factor(stated.units, str(path)) if stated.units else 1.0
    upright = [upright_lead(name) for name in names or LEADS]
    whole = values.dtype.itemsize < 8 and factor == 1  # a file's own single precision is kept as it is
    signal = np.empty(values.shape, dtype=np.float32 if whole and values.dtype.kind == "f" else stated.dtype)
    scales = [factor * sign for _, sign in upright]
    with np.errstate(over="ignore", invalid="ignore"):  # what single precision cannot hold is told below
        if scales.count(1) == len(scales):
            signal[:] = values
        else:
            for row, scale in enumerate(scales):
                signal[row] = values[row].astype(np.float64) * scale
    remove_infinite(path, signal)
    turned = [name for name, (_, sign) in zip(names or LEADS, upright) if sign < 0]
    if turned:
        warnings.warn(f"{path}: {', '.join(turned)} turned over to give the upright lead", stacklevel=5)
    rate = int(rate) if rate == int(rate) else float(rate)
    return Record(signal, rate, [name for name, _ in upright], comments, metadata)


def remove_infinite(path: Path, signal: np.ndarray) -> None:
    """Makes infinite values of `signal` [leads, samples], any unit, NaN, in place, and says how many."""
    infinite = np.isinf(signal)
    if infinite.any():
        warnings.warn(f"{path}: {int(infinite.sum())} values are infinite or too large; they are missing", stacklevel=6)
        signal[infinite] = np.nan
