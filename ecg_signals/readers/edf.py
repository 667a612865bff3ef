"""EDF, EDF+ and BDF: the ECG signals of the highest rate, with the gaps of EDF+D."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.limits import MAX_VENDOR_BYTES, MOST_HOLTER_SAMPLES, MOST_LEADS, read_regular, shown
from ecg_signals.readers.base import Reader
from ecg_signals.readers.edf_annotations import Mark, annotations
from ecg_signals.readers.stated import Stated
from ecg_signals.readers.units import to_millivolt
from ecg_signals.readers.vendor import (
    Piece,
    check_counts,
    check_rate,
    facts,
    iso_time,
    kept,
    later,
    lead_name,
    moment,
    number,
    vendor_record,
)
from ecg_signals.registry import register_reader
from ecg_signals.signal.leads import LEADS, OTHER_LEADS
from ecg_signals.signal.record import Record

_STARTS = (b"0       ", b"\xffBIOSEMI")
_FIELDS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)  # bytes of each signal's entries: label, transducer, unit, ranges, ...
_MOST_SIGNALS = 1024  # of a polysomnography, most of which are no ECG
_ANNOTATIONS = ("EDF Annotations", "BDF Annotations")
_OTHERS = re.compile(r"\b(eeg|eog|emg|resp|spo2|pleth|flow|temp|press|abp|icp|status|marker|acc)", re.IGNORECASE)
_ECG = re.compile(r"\b(ecg|ekg)", re.IGNORECASE)
_FILTER = re.compile(r"(HP|LP|N)\s*:?\s*(\d{1,6}(?:[.,]\d{1,6})?)", re.IGNORECASE)


@dataclass(frozen=True)
class _Signal:
    label: str
    units: str
    physical: tuple[str, str]
    digital: tuple[str, str]
    prefilter: str
    samples: int  # in a data record


@register_reader("edf")
class EdfReader(Reader):
    """EDF, EDF+ (also discontinuous) and BDF."""

    note = "EDF, EDF+ and BDF"
    stated_by = "its header"

    def sniff(self, head: bytes) -> bool:
        return head.startswith(_STARTS) and b"\n" not in head[:256]  # a table's first line is shorter than a header

    def read(self, found: Path, id: int | str | None, stated: Stated) -> Record:
        return _Edf(found).record(stated)


class _Edf:
    """A file whose lengths are checked.

    Attributes:
        records: uint8 [data records, bytes of one].
        seconds: of a data record.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.data = path, read_regular(path, MAX_VENDOR_BYTES)
        self.width = 3 if self.data[:1] == b"\xff" else 2
        if len(self.data) < 256:
            raise ConfigError(f"{path} is truncated: {len(self.data)} bytes, an EDF header has 256; get it again")
        count = self.count(252, 4, "the number of signals")
        if not 0 < count <= _MOST_SIGNALS or len(self.data) < 256 * (count + 1):
            raise ConfigError(f"{path} is truncated or no EDF file: byte 252 states {count} signals; get it again")
        self.signals = self.read_signals(count)
        self.duration = self.text(244, 8)
        self.seconds = number(path, "byte 244, the duration of a data record,", self.duration)
        self.kind = self.text(192, 44)
        self.records = self.read_records(count)
        self.offsets = np.cumsum([0, *(signal.samples * self.width for signal in self.signals)])

    def text(self, at: int, length: int) -> str:
        return self.data[at : at + length].decode("latin-1").strip("\0 ")

    def count(self, at: int, length: int, what: str) -> int:
        return int(number(self.path, f"byte {at}, {what},", self.text(at, length)))

    def read_signals(self, count: int) -> list[_Signal]:
        columns, at = [], 256
        for width in _FIELDS:
            columns.append([self.text(at + width * row, width) for row in range(count)])
            at += width * count
        label, _, units, low, high, least, greatest, prefilter, samples, _ = columns
        found = []
        for row in range(count):
            size = int(
                number(self.path, f"signal {shown(label[row], 20)}, its samples in a data record,", samples[row])
            )
            if not 0 < size <= MOST_HOLTER_SAMPLES:
                raise ConfigError(f"{self.path}: signal {shown(label[row], 20)} states {size} samples in a data record")
            pair = (low[row], high[row]), (least[row], greatest[row])
            found.append(_Signal(label[row], units[row], *pair, prefilter[row], size))
        return found

    def read_records(self, count: int) -> np.ndarray:
        begin, size = 256 * (count + 1), self.width * sum(signal.samples for signal in self.signals)
        there, rest = divmod(len(self.data) - begin, size)
        stated = self.count(236, 8, "the number of data records")
        if stated > there:
            raise ConfigError(f"{self.path} is truncated: {there} of {stated} data records are there; get it again")
        if stated >= 0 and (there > stated or rest):
            told = f"{there - stated} data records and {rest} bytes more than the header accounts for"
            warnings.warn(f"{self.path} holds {told}; left out", stacklevel=5)
            there = stated
        if not there:
            raise ConfigError(f"{self.path} holds no data records; get the file again")
        return np.frombuffer(self.data, np.uint8, there * size, begin).reshape(there, size)

    def counts(self, row: int) -> np.ndarray:
        """float64 [data records, samples of one]; before anything is subtracted, for 16 bits would wrap."""
        raw = np.ascontiguousarray(self.records[:, self.offsets[row] : self.offsets[row + 1]])
        if self.width == 2:
            return raw.view("<i2").astype(np.float64)
        wide = np.zeros((len(raw), self.signals[row].samples, 4), np.uint8)
        wide[:, :, 1:] = raw.reshape(len(raw), -1, 3)
        return (wide.view("<i4")[:, :, 0] >> 8).astype(np.float64)

    def values(self, row: int) -> np.ndarray:
        """Physical values, float64 [data records, samples of one], in the signal's unit."""
        signal = self.signals[row]
        where = f"signal {shown(signal.label, 20)}"
        low, high = (number(self.path, f"{where}, its physical range,", text) for text in signal.physical)
        least, greatest = (number(self.path, f"{where}, its digital range,", text) for text in signal.digital)
        if low == high or least == greatest:
            found = f"from {low:g} to {high:g} for counts from {least:g} to {greatest:g}"
            raise ConfigError(f"{self.path}: {where} states no range ({found}), so that its values are unknown")
        counts = self.counts(row)
        counts -= least
        counts *= (high - low) / (greatest - least)
        counts += low
        return counts

    def record(self, stated: Stated) -> Record:
        rows = self.chosen(stated)
        if self.seconds <= 0:
            raise ConfigError(f"{self.path} states data records of {self.seconds:g} s, so that it has no rate")
        per_record = self.signals[rows[0]].samples
        rate = self.rate(per_record)
        check_rate(self.path, rate)
        marks, starts = self.marks()
        places = self.places(starts, rate, per_record)
        check_counts(self.path, len(rows), int(places[-1]) + per_record, MOST_HOLTER_SAMPLES)
        names = self.names(rows)
        pieces = [piece for row, name in zip(rows, names) for piece in self.pieces(row, name, places, per_record)]
        about = self.about(rows, marks, stated)
        if starts[0]:  # seconds behind the time in the header, from which marks are counted
            about["annotations"] = [(begin - starts[0], seconds, text) for begin, seconds, text in about["annotations"]]
            about["start"] = later(about["start"], starts[0])
        return vendor_record(self.path, pieces, rate, stated, MOST_HOLTER_SAMPLES, **about)

    def rate(self, per_record: int) -> float:
        """Hz; the whole rate that a duration means which was cut to the eight letters that there are for it."""
        rate = per_record / self.seconds
        whole = round(rate)
        cut = 10.0 ** -len(self.duration.partition(".")[2]) if len(self.duration) > 6 else 0.0
        near = abs(rate - whole) < 1e-9 * rate or (whole > 0 and abs(per_record / whole - self.seconds) < cut)
        return float(whole) if near else rate

    def names(self, rows: Sequence[int]) -> list[str]:
        """Labels, of which Holter recorders write the same for all signals: those of no known lead get a number."""
        found: list[str] = []
        for row in rows:
            label = self.signals[row].label
            known = lead_name(label)[0] in (*LEADS, *OTHER_LEADS)
            numbered = (f"{label} {number}" for number in range(2, len(rows) + 2))
            found.append(label if known or label not in found else next(name for name in numbered if name not in found))
        return found

    def pieces(self, row: int, name: str, places: np.ndarray, per_record: int) -> list[Piece]:
        """One piece for every stretch of data records without a gap."""
        signal = self.signals[row]
        values = self.values(row)
        breaks = np.flatnonzero(np.diff(places) != per_record) + 1
        units = signal.units or "mV"
        return [Piece(name, part.reshape(-1), units, int(places[first]))
                for first, part in zip([0, *breaks], np.split(values, breaks))]  # fmt: skip

    def chosen(self, stated: Stated) -> list[int]:
        """The ECG signals of the highest rate; warns of the others."""
        rows = [row for row, signal in enumerate(self.signals) if signal.label not in _ANNOTATIONS]
        volts = [row for row in rows if not self.signals[row].units or to_millivolt(self.signals[row].units)]
        found = [row for row in volts if _is_ecg(self.signals[row].label)]
        found = found or [row for row in volts if not _OTHERS.search(self.signals[row].label)]
        if not found:
            listed = ", ".join(
                f"{shown(self.signals[row].label, 16)} ({shown(self.signals[row].units, 8)})" for row in rows[:12]
            )
            raise ConfigError(f"{self.path} holds no ECG: its signals are {listed or 'annotations alone'}")
        most = max(self.signals[row].samples for row in found)
        kept_rows = [row for row in found if self.signals[row].samples == most][:MOST_LEADS]
        others = [shown(self.signals[row].label, 16) for row in rows if row not in kept_rows]
        if others:
            more = " ..." if len(others) > 12 else ""
            told = f"{', '.join(others[:12])}{more} are no ECG or have a lower rate"
            warnings.warn(f"{self.path}: {told}; left out", stacklevel=5)
        without = [shown(self.signals[row].label, 16) for row in kept_rows if not self.signals[row].units]
        if without and not stated.units:
            warnings.warn(f"{self.path} states no unit of {', '.join(without)}; mV assumed", stacklevel=5)
        return kept_rows

    def marks(self) -> tuple[list[Mark], list[float | None]]:
        """Annotations by the file's clock, and the second at which every data record begins, None where its first mark
        does not say it.
        """
        starts: list[float | None] = [None] * len(self.records)
        marks: list[Mark] = []
        first = True
        for row, signal in enumerate(self.signals):
            if signal.label in _ANNOTATIONS:
                columns = self.records[:, self.offsets[row] : self.offsets[row + 1]]
                told = annotations(self.path, columns)
                starts = told.starts if first else starts
                marks += told.marks
                first = False
        return marks, starts

    def places(self, starts: Sequence[float | None], rate: float, per_record: int) -> np.ndarray:
        """Sample at which every data record begins; those of EDF+D may have gaps between them."""
        count = len(self.records)
        if not self.kind.startswith(("EDF+D", "BDF+D")):
            return np.arange(count, dtype=np.int64) * per_record
        if any(start is None for start in starts):
            missing = next(number for number, start in enumerate(starts) if start is None)
            raise ConfigError(f"{self.path} is discontinuous, but data record {missing} does not say when it begins")
        seconds = np.array(starts, dtype=np.float64)
        places = np.rint((seconds - seconds[0]) * rate)
        if np.any(np.diff(places) < per_record) or places[-1] + per_record > MOST_HOLTER_SAMPLES:
            worst = int(np.argmin(np.diff(places))) + 1 if count > 1 else 0
            raise ConfigError(f"{self.path}: data record {worst} begins before the one before it ends, or years later")
        return places.astype(np.int64)

    def about(self, rows: list[int], marks: list[Mark], stated: Stated) -> dict[str, Any]:
        fields = self.text(8, 80).split(" ") if self.kind.startswith(("EDF+", "BDF+")) else []
        plus = [field if field != "X" else "" for field in (*fields[:4], "", "", "", "")][:4]
        patient = {"id": plus[0], "birth_date": plus[2], "name": plus[3].replace("_", " "), "patient": self.text(8, 80)}
        names = {"HP": "highpass", "LP": "lowpass", "N": "notch"}
        filters = {names[kind.upper()]: value for kind, value in _FILTER.findall(self.signals[rows[0]].prefilter)}
        return {
            "metadata": facts(sex=plus[1]),
            "start": self.start(),
            "filters": filters,
            "patient": kept(patient, stated),
            "annotations": [(mark.start, mark.seconds, mark.text) for mark in marks],
        }

    def start(self) -> str | None:
        """Date and time of the first sample; EDF+ has the full year in its recording field, EDF two digits of it."""
        parts = re.fullmatch(r"(\d\d)[.:/-](\d\d)[.:/-](\d\d)\s*(\d\d)[.:](\d\d)[.:](\d\d)", self.text(168, 16))
        if parts is None:
            return None
        day, month, year, *clock = map(int, parts.groups())
        said = re.match(r"Startdate (\d\d-[A-Z]{3}-\d{4})", self.text(88, 80))
        full = iso_time(said[1], ["%d-%b-%Y"]) if said else None
        if full is not None:
            return f"{full[:10]}T{clock[0]:02d}:{clock[1]:02d}:{clock[2]:02d}"
        return moment(year + (1900 if year >= 85 else 2000), month, day, *clock)


def _is_ecg(label: str) -> bool:
    return bool(_ECG.search(label)) or lead_name(label)[0] in (*LEADS, *OTHER_LEADS)
