"""One WFDB record without segments, or one segment of a longer one: its leads in mV, and what is odd about it.

Every size of a header is held against the signal files before memory is taken, and every name against its folder.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.limits import believable, shown
from ecg_signals.readers.units import COUNTS, COUNTS_PER_MV, to_millivolt, voltage_factor
from ecg_signals.readers.wfdb_files import SignalFile, signal_files
from ecg_signals.readers.wfdb_formats import FORMATS
from ecg_signals.readers.wfdb_header import Header, SignalLine
from ecg_signals.signal.leads import upright_lead

_SHOWN = 12  # names in one message
_NAMED = {  # what is said of leads that were left out, or read in another way than they are stored
    "other": "{names} left out, because it is no voltage",
    "unlisted": "{names} left out, because the layout segment does not list it",
    "uncalibrated": f"{{names}} stored without calibration (no gain, or counts); {COUNTS_PER_MV:.0f} counts per mV are "
    "assumed. If you know the size of a count, give it, such as units=4.88uV",
    "overruled": "{names} read in {units}, as was asked for, though the header has other units",
    "rates": "its leads have several rates ({names} Hz); all are averaged to what fits every one",
    "turned": "{names} turned over to give the upright lead",
    "wrong_checksum": "the samples do not give the checksum that the header states for {names}; compare the file with "
    "its source",
}


@dataclass(slots=True)
class Lead:
    """A voltage among a header's signals: mV = (count - baseline) / gain * factor; below 0 the factor turns it over."""

    index: int
    name: str
    gain: float
    factor: float


@dataclass
class Notes:
    """What was left out or assumed, over all segments; said once per record."""

    named: dict[str, dict[str, None]] = field(default_factory=lambda: {kind: {} for kind in _NAMED})  # each name once
    texts: list[str] = field(default_factory=list)

    def add(self, kind: str, name: str) -> None:
        self.named[kind][name] = None

    def say(self, path: Path, units: str | None) -> None:
        for kind, names in self.named.items():
            if names:
                listed = ", ".join(shown(name) for name in list(names)[:_SHOWN])
                more = " ..." if len(names) > _SHOWN else ""
                warnings.warn(f"{path}: {_NAMED[kind].format(names=listed + more, units=units)}", stacklevel=5)
        for text in self.texts[:_SHOWN]:
            warnings.warn(f"{path}: {text}", stacklevel=5)
        if len(self.texts) > _SHOWN:
            warnings.warn(f"{path}: {len(self.texts) - _SHOWN} more remarks of this kind", stacklevel=5)


class Part:
    """A record without segments, or one segment: its leads, its files and how long it is. Nothing is read yet.

    Args:
        frames: what the segment's line says, None for a record of its own.
    Attributes:
        grid: samples per frame that its leads are returned with; averages where a lead has more.
    """

    def __init__(self, header: Header, frames: int | None, units: str | None, notes: Notes) -> None:
        if not header.signals:
            raise ConfigError(f"{header.path} describes no signal; give the header of a record with signals")
        for line in header.signals:
            if line.format not in FORMATS:
                raise ConfigError(
                    f"{header.path}: signal {line.name} has the unknown WFDB format {line.format}; known are "
                    f"{', '.join(map(str, FORMATS))}. Convert the record to format 16"
                )
        self.header = header
        self.leads = find_leads(header, units, notes)
        self.grid = math.gcd(*(header.signals[lead.index].per_frame for lead in self.leads))
        self.files: list[SignalFile] = []
        self.frames = frames or 0
        if not self.leads:
            return
        self.files = signal_files(header)
        self.frames = header.samples or min(file.frames() for file in self.files)
        if not self.frames:
            raise ConfigError(f"{header.path} describes a record without samples; get its files again")
        late = next((line for line in header.signals if line.skew >= self.frames), None)
        if late is not None:
            found = f"{late.name} has a skew of {late.skew} of {self.frames} samples"
            raise ConfigError(f"{header.path}: {found}; correct it")
        for file in self.files:
            file.check_length(self.frames)
        stored = sum(file.size for file in self.files)
        believable(4 * len(self.leads) * self.frames * self.grid, stored, f"{header.path}: its signal")

    def write(self, signal: np.ndarray, rows: Sequence[int | None], notes: Notes) -> None:
        """Each lead in mV to its row of `signal` [rows, samples]; None for a lead that is not wanted."""
        lead_of = {lead.index: (lead, row) for lead, row in zip(self.leads, rows)}
        stated = any(line.checksum for line in self.header.signals)  # a header that says 0 everywhere states none
        for file in self.files:
            counts = file.read(self.frames)  # [frames, samples per frame]
            notes.texts += file.remarks
            sums = _column_sums(counts).tolist() if stated else None
            lowest, end, plain = counts.min(), 0, []
            for index in file.indices:
                line = self.header.signals[index]
                start, end = end, end + line.per_frame
                if sums is not None and line.checksum is not None and (sum(sums[start:end]) - line.checksum) % 65536:
                    notes.add("wrong_checksum", upright_lead(line.name)[0])
                lead, row = lead_of.get(index, (None, None))
                if lead is None or row is None:
                    continue
                if _is_plain(line, lead, lowest):
                    plain.append((row, start, lead.gain))
                else:
                    _millivolt(signal[row], counts[:, start:end], line, lead, lowest)
            _divide(signal, counts, plain)


def find_leads(header: Header, units: str | None, notes: Notes) -> list[Lead]:
    """The voltages among the signals."""
    leads = []
    for index, line in enumerate(header.signals):
        counts = line.units.lower() in COUNTS
        factor = 1 / COUNTS_PER_MV if counts else to_millivolt(line.units or "mV")
        if factor is None:
            notes.add("other", f"{line.name} ({line.units})")
            continue
        name, sign = upright_lead(line.name)
        gain = line.gain or 1.0
        if units is not None:
            stated, factor = factor, voltage_factor(units, line.name)
            if line.units and line.gain and not counts and not math.isclose(stated, factor):
                notes.add("overruled", f"{name} ({line.units})")
        elif counts or line.gain is None:
            notes.add("uncalibrated", name)
            gain, factor = (gain, factor) if counts else (COUNTS_PER_MV, 1.0)
        if sign < 0:
            notes.add("turned", line.name)
        leads.append(Lead(index, name, gain, sign * factor))
    rates = [header.signals[lead.index].per_frame for lead in leads]
    if len(set(rates)) > 1:
        for lead, rate in zip(leads, rates):
            notes.add("rates", f"{lead.name} {rate * header.rate:g}")
    return leads


def _column_sums(counts: np.ndarray) -> np.ndarray:
    """int64 sums [columns] modulo 65536 of counts [frames, columns].

    Wrapping 16-bit sums of long rows are what a processor adds fastest, so several frames form one row.
    """
    low = counts.astype(np.uint16, copy=False) if counts.dtype != np.int16 else counts.view(np.uint16)
    together = max(1, 2048 // counts.shape[1])
    whole = len(low) // together * together
    sums = low[:whole].reshape(-1, together * counts.shape[1]).sum(axis=0, dtype=np.uint16)
    sums = sums.reshape(together, counts.shape[1]).sum(axis=0, dtype=np.int64)
    return sums + low[whole:].sum(axis=0, dtype=np.int64)


def _is_plain(line: SignalLine, lead: Lead, lowest: int) -> bool:
    """Whether mV are counts / gain, and nothing is missing; `lowest` is the lowest count of the file."""
    absent = FORMATS[line.format].missing
    present = absent is None or lowest > absent
    return present and lead.factor == 1 and line.per_frame == 1 and not line.skew and not line.baseline


def _divide(signal: np.ndarray, counts: np.ndarray, plain: list[tuple[int, int, float]]) -> None:
    """(row, column, gain): columns of counts [samples, signals] to rows of mV, all at once where they are all."""
    if not plain:
        return
    rows, columns, gains = (list(part) for part in zip(*plain))
    if rows == list(range(len(signal))) and columns == list(range(counts.shape[1])):
        divisors = np.array(gains)[:, None]
        # a float64 quotient of two exact float32 numbers, rounded, is their float32 quotient (Figueroa 1995)
        if counts.dtype == np.int16 and signal.dtype == np.float32 and (np.float32(divisors) == divisors).all():
            np.copyto(signal, np.ascontiguousarray(counts.T))  # turned over while they are small
            np.divide(signal, np.float32(divisors), out=signal)
        else:
            np.divide(counts.T, divisors, out=signal, dtype=np.float64, casting="unsafe")
        return
    for row, column, gain in plain:
        np.divide(counts[:, column], gain, out=signal[row], dtype=np.float64, casting="unsafe")


def _millivolt(out: np.ndarray, counts: np.ndarray, line: SignalLine, lead: Lead, lowest: int) -> None:
    """Counts of one signal [frames, per_frame] -> mV in `out` [samples]; NaN where a value is missing.

    Several samples that become one are averaged, cut to a whole count as the wfdb package does.
    """
    each = counts.size // len(out)  # samples that become one
    values = counts.reshape(-1).astype(np.float64)
    absent = FORMATS[line.format].missing
    if absent is not None and lowest <= absent:
        values[values == absent] = np.nan
    if line.skew:
        values = _without_skew(values, line)
    if each > 1:
        values = np.trunc(values.reshape(-1, each).mean(axis=1))
    values -= line.baseline
    values /= lead.gain
    if lead.factor != 1:
        values *= lead.factor
    out[:] = values


def _without_skew(values: np.ndarray, line: SignalLine) -> np.ndarray:
    """A signal that lags by `skew` frames, moved to its place; the end, which was not stored, is NaN."""
    late = line.skew * line.per_frame
    result = np.full_like(values, np.nan)
    result[: len(values) - late] = values[late:]
    return result


def no_voltage(header: Header) -> ConfigError:
    others = ", ".join(f"{line.name} ({line.units})" for line in header.signals[:_SHOWN])
    return ConfigError(f"{header.path} holds no voltage, only {others}; give a record with ECG leads")
