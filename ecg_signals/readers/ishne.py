"""ISHNE, the format of Holter recordings."""

import binascii
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.limits import MAX_VENDOR_BYTES, MOST_HOLTER_SAMPLES, MOST_LEADS, read_regular
from ecg_signals.readers.base import Reader
from ecg_signals.readers.stated import Stated
from ecg_signals.readers.vendor import Piece, check_counts, check_rate, facts, kept, moment, vendor_record
from ecg_signals.registry import register_reader
from ecg_signals.signal.record import Record

_MAGIC = b"ISHNE1.0"
_BEFORE = 10  # bytes of magic and checksum before the fixed header
_FIXED = 512
_NAMES = ("unknown", "bipolar", "Vx", "Vy", "Vz", "I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5",
          "V6", "ES", "AS", "AI")  # fmt: skip
_MISSING = -(2**15)
_IN_HEADER = 12  # leads whose code and resolution the header has room for


@register_reader("ishne")
class IshneReader(Reader):
    """ISHNE Holter files."""

    note = "ISHNE"
    stated_by = "its header"

    def sniff(self, head: bytes) -> bool:
        return head.startswith(_MAGIC)

    def read(self, found: Path, id: int | str | None, stated: Stated) -> Record:
        """The leads as counts times their resolution. How many samples there are, the size of the file tells: the
        number in the header is counted per lead by some writers and in total by others.
        """
        data = read_regular(found, MAX_VENDOR_BYTES)
        if len(data) < _BEFORE + _FIXED:
            raise ConfigError(
                f"{found} is truncated: {len(data)} bytes, its header has {_BEFORE + _FIXED}; get it again"
            )
        header = data[_BEFORE : _BEFORE + _FIXED]
        counts, names, steps = _leads(found, data, header)
        (rate,) = struct.unpack_from("<h", header, 262)
        check_rate(found, rate)
        pieces = []
        for row, (name, step) in enumerate(zip(names, steps)):
            values = counts[:, row].astype(np.float64)
            values[counts[:, row] == _MISSING] = np.nan
            pieces.append(Piece(name, values, f"{step}nV"))
        record = vendor_record(found, pieces, float(rate), stated, MOST_HOLTER_SAMPLES, **_about(header, stated))
        (crc,) = struct.unpack_from("<H", data, 8)
        (variable,) = struct.unpack_from("<i", header, 0)
        spans = [data[_BEFORE : _BEFORE + _FIXED + more] for more in (0, max(variable, 0))]  # writers differ
        if crc not in [binascii.crc_hqx(span, 0xFFFF) for span in spans]:
            warnings.warn(f"{found}: its checksum does not fit its header; what it states may be wrong", stacklevel=3)
            record.metadata["wrong_checksum"] = list(record.leads)
        return record


def _leads(path: Path, data: bytes, header: bytes) -> tuple[np.ndarray, list[str], list[int]]:
    """int16 [samples, leads], the leads' names, and nV per count of each."""
    samples, offset = struct.unpack_from("<4xi4xi", header, 0)
    (leads,) = struct.unpack_from("<h", header, 146)
    if not 0 < leads <= min(_IN_HEADER, MOST_LEADS):
        raise ConfigError(f"{path} states {leads} leads at byte {_BEFORE + 146}; 1 to {_IN_HEADER} are known")
    if not _BEFORE + _FIXED <= offset <= len(data):
        raise ConfigError(f"{path} is truncated: its samples begin at byte {offset} of {len(data)}; get it again")
    found = (len(data) - offset) // (2 * leads)
    if samples not in (found, found * leads):
        if samples > found * leads or found < samples < 2 * found:
            told = f"{found} samples of {leads} leads are there, {samples} are stated; is the file whole?"
        else:
            told = f"it states {samples} samples; the {found} of each lead that are there are read"
        warnings.warn(f"{path}: {told}", stacklevel=4)
    if (len(data) - offset) % (2 * leads):
        warnings.warn(f"{path} ends within a sample; it is left out. Is the file whole?", stacklevel=4)
    check_counts(path, leads, found, MOST_HOLTER_SAMPLES)
    codes = struct.unpack_from(f"<{leads}h", header, 148)
    steps = list(struct.unpack_from(f"<{leads}h", header, 196))
    names = [_NAMES[code] if 2 <= code < len(_NAMES) else f"channel {row + 1}" for row, code in enumerate(codes)]
    if bad := [name for name, step in zip(names, steps) if step <= 0]:
        raise ConfigError(f"{path} states no resolution for {', '.join(bad)} (byte {_BEFORE + 196}); get it again")
    return np.frombuffer(data, "<i2", found * leads, offset).reshape(found, leads), names, steps


def _about(header: bytes, stated: Stated) -> dict[str, Any]:
    day, month, year, hour, minute, second = (
        *struct.unpack_from("<3h", header, 128), *struct.unpack_from("<3h", header, 140),
    )  # fmt: skip
    born = struct.unpack_from("<3h", header, 122)
    (sex,) = struct.unpack_from("<h", header, 118)
    patient = {
        "name": f"{_text(header[18:58])} {_text(header[58:98])}".strip(),
        "id": _text(header[98:118]),
        "birth_date": moment(born[2], born[1], born[0]) or "",
    }
    return {
        "metadata": facts(sex={1: "male", 2: "female"}.get(sex, "")),
        "start": moment(year, month, day, hour, minute, second),
        "patient": kept(patient, stated),
    }


def _text(stored: bytes) -> str:
    return stored.partition(b"\0")[0].decode("latin-1").strip()
