"""WFDB records: any format, several signal files, several segments."""

import os
from pathlib import Path, PurePosixPath

import numpy as np

from ecg_signals.readers.base import HEAD_BYTES, Reader
from ecg_signals.readers.stated import Stated
from ecg_signals.readers.units import voltage_factor
from ecg_signals.readers.wfdb_header import Header, read_header
from ecg_signals.readers.wfdb_part import Notes, Part, no_voltage
from ecg_signals.readers.wfdb_segments import read_segments
from ecg_signals.registry import register_reader
from ecg_signals.signal.record import Record


@register_reader("wfdb")
class WfdbReader(Reader):
    """WFDB records, named by the .hea, without extension, or by a signal file that the header lists."""

    suffixes = (".hea",)
    note = " (WFDB; also without extension or by a signal file)"
    stated_by = "its header"
    rank = 1  # its signal files may have any name

    def sniffed(self, path: Path, head: bytes) -> Header | None:
        """A header that begins with its own name; a MATLAB file may be the signal file of a header beside it."""
        suffix = path.suffix.lower()
        if suffix == ".hea" and head.startswith(os.fsencode(path.stem) + b" "):
            return read_header(path, head if len(head) < HEAD_BYTES else None)
        return self.recognise(path) if suffix == ".mat" and head.startswith(b"MATLAB") else None

    def recognise(self, path: Path) -> Header | None:
        suffix = path.suffix.lower()
        if suffix == ".hea":
            return read_header(path) if path.exists() else None
        beside = path.parent / f"{path.name}.hea"
        if beside.is_file() and (not suffix or not path.is_file()):
            return read_header(beside)
        for file in (beside, path.with_suffix(".hea")) if suffix else ():
            header = read_header(file) if file.is_file() else None
            if header and any(PurePosixPath(line.file).name == path.name for line in header.signals):
                return header
        return None

    def read(self, found: Header, id: int | str | None, stated: Stated) -> Record:
        """The record that a header describes, in mV.

        A signal that is no voltage is left out with a warning that names it; a checksum that does not fit the samples
        gives a warning and lists the leads in `metadata["wrong_checksum"]`. Units that the caller states stand for all
        voltages, in place of what the header says; counts without calibration are in these units, too.
        """
        return _record(found, stated.units, stated.dtype)


def _record(header: Header, units: str | None, dtype: str) -> Record:
    if units is not None:
        voltage_factor(units, str(header.path))
    notes = Notes()
    if header.segments:
        signal, names, grid = read_segments(header, units, notes, dtype)
    else:
        part = Part(header, None, units, notes)
        if not part.leads:
            raise no_voltage(header)
        names, grid = [lead.name for lead in part.leads], part.grid
        signal = np.empty((len(names), part.frames * grid), dtype=dtype)
        part.write(signal, range(len(names)), notes)
    metadata: dict[str, object] = {}
    for line in header.comments:
        key, colon, value = line.partition(":")
        if colon and key.strip():
            metadata.setdefault(key.strip().lower(), value.strip())
    if header.when:
        metadata["recorded"] = header.when
    if notes.named["wrong_checksum"]:
        metadata["wrong_checksum"] = list(notes.named["wrong_checksum"])
    notes.say(header.path, units)
    rate = header.rate * grid
    return Record(signal, int(rate) if rate == int(rate) else rate, names, header.comments, metadata)
