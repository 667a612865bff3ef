"""WFDB records: any format, several signal files, several segments."""

import numpy as np

from ecg_signals.readers.units import voltage_factor
from ecg_signals.readers.wfdb_header import Header
from ecg_signals.readers.wfdb_part import Notes, Part, no_voltage
from ecg_signals.readers.wfdb_segments import read_segments
from ecg_signals.signal.record import Record


def read_wfdb(header: Header, units: str | None = None, dtype: str = "float32") -> Record:
    """The record that `header` describes, in mV.

    A signal that is no voltage is left out with a warning that names it; a checksum that does not fit the
    samples gives a warning and lists the leads in `metadata["wrong_checksum"]`.

    Args:
        units: of all voltages, in place of what the header says; counts without calibration are in these units, too.
    """
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
    if notes.wrong_checksum:
        metadata["wrong_checksum"] = list(notes.wrong_checksum)
    notes.say(header.path, units)
    rate = header.rate * grid
    return Record(signal, int(rate) if rate == int(rate) else rate, names, header.comments, metadata)
