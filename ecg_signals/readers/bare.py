"""Bare signal files without a header, as Holter recorders write them, whose form the caller states."""

from pathlib import Path

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.limits import size_of
from ecg_signals.readers.stated import Stated
from ecg_signals.readers.vendor import Piece, check_rate, vendor_record
from ecg_signals.readers.wfdb_formats import FORMATS
from ecg_signals.signal.record import Record

_READABLE = [number for number, form in FORMATS.items() if form.decode is not None and number != 8]


def read_bare(found: Path, stated: Stated) -> Record:
    """Samples of all leads in turn, in a WFDB sample format, as counts of 1/gain mV, or of the stated units.

    Raises: ConfigError where format, rate, leads or the size of a count are not stated, or cannot be.
    """
    if not stated.leads or stated.sample_rate is None or not (stated.gain or stated.units) or not stated.format:
        raise ConfigError(
            f"{found}: a bare signal file needs its format, sample rate, leads and gain; give --signal-format 16 "
            "--sample-rate 250 --leads I,II,V1 --gain 200 (counts per mV)"
        )
    form = FORMATS.get(int(stated.format)) if stated.format.isdigit() and len(stated.format) < 5 else None
    if form is None or form.decode is None or stated.format == "8":
        raise ConfigError(f"{found}: the format '{stated.format[:20]}' is none of {', '.join(map(str, _READABLE))}")
    if stated.gain is not None and not 0 < abs(stated.gain) < np.inf:
        raise ConfigError(f"{found}: the gain is {stated.gain:g} counts per mV; it must be another number than 0")
    check_rate(found, stated.sample_rate)
    count = form.counts(size_of(found)) // len(stated.leads)
    raw = np.fromfile(found, np.uint8)
    counts = form.decode(raw, count * len(stated.leads)).reshape(count, len(stated.leads))
    pieces = []
    for row, lead in enumerate(stated.leads):
        values = counts[:, row].astype(np.float64) / (1.0 if stated.units else stated.gain or 1.0)
        values[counts[:, row] == form.missing] = np.nan
        pieces.append(Piece(lead, values, stated.units or "mV"))
    return vendor_record(found, pieces, float(stated.sample_rate), stated, 10 * size_of(found))
