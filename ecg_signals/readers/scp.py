"""SCP-ECG (EN 1064): leads with Huffman-coded or plain samples, without reference beats."""

import binascii
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.limits import MAX_VENDOR_BYTES, read_regular
from ecg_signals.readers.base import Reader
from ecg_signals.readers.huffman import Decoder, huffman_counts, own_tables
from ecg_signals.readers.stated import Stated
from ecg_signals.readers.vendor import (
    Piece,
    check_counts,
    facts,
    kept,
    moment,
    rate_of_interval,
    scp_lead,
    vendor_record,
)
from ecg_signals.registry import register_reader
from ecg_signals.signal.record import Record

_DEFAULT_TABLE = 19999
_SECTION_HEADER = 16  # bytes before the content of every section
_LENGTH_FIELD = 1 << 16  # the lengths of leads are counted modulo this
_YEARS = {1: 1.0, 2: 1 / 12, 3: 7 / 365.25, 4: 1 / 365.25, 5: 1 / 8766}  # per unit of an age
_INTERVALS = ("rr_interval", "pp_interval")  # ms, of section 7


@register_reader("scp")
class ScpReader(Reader):
    """SCP-ECG files; those with reference beats or bimodal compression are refused."""

    note = "SCP-ECG"
    stated_by = "its sections"

    def sniff(self, head: bytes) -> bool:
        """By its mark, or, of early recorders that write none, by the pointer of section 0 to itself, at byte 7."""
        itself = bytes(2) + head[10:14] + b"\7\0\0\0"
        return head[16:22] == b"SCPECG" or (head[8:10] == bytes(2) and head[22:32] == itself)

    def read(self, found: Path, id: int | str | None, stated: Stated) -> Record:
        return _Scp(found).record(stated)


@dataclass(frozen=True)
class _Lead:
    """A line of section 3: the lead's code, the number of its first sample (from 1) and how many are stated."""

    code: int
    first: int
    samples: int


class _Scp:
    def __init__(self, path: Path) -> None:
        self.path, self.data = path, read_regular(path, MAX_VENDOR_BYTES)
        (self.stated,) = self.unpack("<I", 2, "its length")
        if self.stated > len(self.data):
            raise self.broken("its length", 2, f"{len(self.data)} of {self.stated} bytes are there")
        self.sections = self.pointers()

    def broken(self, what: str, offset: int, found: str) -> ConfigError:
        return ConfigError(f"{self.path} is truncated or no SCP-ECG file: {what} at byte {offset}: {found}")

    def unpack(self, form: str, offset: int, what: str) -> tuple[Any, ...]:
        if offset < 0 or offset + struct.calcsize(form) > len(self.data):
            raise self.broken(what, offset, f"the file ends at byte {len(self.data)}")
        return struct.unpack_from(form, self.data, offset)

    def pointers(self) -> dict[int, tuple[int, int]]:
        """id -> offset and length of every section that is there, behind its header."""
        (length,) = self.unpack("<I", 10, "section 0")
        found: dict[int, tuple[int, int]] = {}
        for at in range(6 + _SECTION_HEADER, min(6 + length, len(self.data) - 9, 6 + 10 * 1024), 10):
            number, size, index = self.unpack("<HII", at, "section 0")
            if not size or not 0 < number < 12:
                continue
            if size < _SECTION_HEADER or index < 1 or index - 1 + size > len(self.data):
                raise self.broken(f"section {number}", at, f"{size} bytes from byte {index - 1} on are stated")
            found.setdefault(number, (index - 1 + _SECTION_HEADER, size - _SECTION_HEADER))
        return found

    def section(self, number: int) -> tuple[int, int]:
        if number not in self.sections:
            raise ConfigError(f"{self.path} has no section {number}, which states its leads; get the file again")
        return self.sections[number]

    def record(self, stated: Stated) -> Record:
        leads = self.leads()
        step, interval, pieces = self.rhythm(leads)
        rate = rate_of_interval(str(interval), "0.000001")
        if rate is None:
            raise self.broken("section 6", self.section(6)[0] + 2, f"a sampling interval of {interval} us")
        start = min(lead.first for lead in leads)
        units = f"{step}nV"
        told = [Piece(scp_lead(lead.code), counts.astype(np.float64), units, lead.first - start)
                for lead, counts in zip(leads, pieces)]  # fmt: skip
        about = self.about(stated)
        record = vendor_record(self.path, told, rate, stated, **about)
        (crc,) = self.unpack("<H", 0, "its checksum")
        if binascii.crc_hqx(self.data[2 : self.stated], 0xFFFF) != crc:
            warnings.warn(f"{self.path}: its checksum does not fit its bytes; samples may be wrong", stacklevel=4)
            record.metadata["wrong_checksum"] = list(record.leads)
        return record

    def leads(self) -> list[_Lead]:
        at, size = self.section(3)
        count, flags = self.unpack("<BB", at, "section 3")
        if flags & 1:
            raise ConfigError(
                f"{self.path} has subtracted reference beats (section 3), which is not read yet; {_INSTEAD}"
            )
        if not count or size < 2 + 9 * count:
            raise self.broken("section 3", at, f"{count} leads in {size} bytes")
        found = []
        for number in range(count):
            first, last, code = self.unpack("<IIB", at + 2 + 9 * number, "section 3")
            if last < first:
                raise self.broken("section 3", at + 2 + 9 * number, f"samples {first} to {last} are stated")
            found.append(_Lead(code, first, last - first + 1))
        start = min(lead.first for lead in found)
        check_counts(self.path, count, max(lead.first + lead.samples for lead in found) - start)
        return found

    def rhythm(self, leads: list[_Lead]) -> tuple[int, int, list[np.ndarray]]:
        """nV per count, us per sample, and the counts of every lead."""
        at, size = self.section(6)
        step, interval, encoding, bimodal = self.unpack("<HHBB", at, "section 6")
        if bimodal:
            raise ConfigError(f"{self.path} is compressed bimodally (section 6), which is not read yet; {_INSTEAD}")
        if encoding > 2 or not step:
            raise self.broken("section 6", at, f"encoding {encoding}, {step} nV per count")
        lengths = list(self.unpack(f"<{len(leads)}H", at + 6, "section 6"))
        begin = at + 6 + 2 * len(leads)
        counts = list(self.counts(leads, lengths, begin, at + size))
        if any(len(values) < lead.samples for lead, values in zip(leads, counts)) and self.decoder() is not None:
            # a zero bit that fills up a byte reads as one more sample of the leads that have room for it
            counts = [values[: lead.samples - 1] for lead, values in zip(leads, counts)]
        return step, interval, [_undone(values, encoding) for values in counts]

    def counts(self, leads: list[_Lead], lengths: list[int], begin: int, end: int) -> Iterator[np.ndarray]:
        """Stored counts or differences of every lead, also of those whose lengths overflow their field."""
        decode = self.decoder()
        if decode is None:
            lengths = self.plain_lengths(leads, lengths, end - begin)
        for lead, length in zip(leads, lengths):
            if begin + length > end:
                raise self.broken("section 6", begin, f"{length} bytes of a lead, {end - begin} are there")
            data = self.data[begin : begin + length]
            if decode is None:
                values = np.frombuffer(data[: len(data) // 2 * 2], "<i2")
            else:
                values, _ = decode(data, lead.samples)
            if decode is not None and len(values) < lead.samples - 1:
                _, used = decode(self.data[begin:end], lead.samples - 1)
                length += max(0, -(-(used - length) // _LENGTH_FIELD)) * _LENGTH_FIELD
                values, _ = decode(self.data[begin : min(begin + length, end)], lead.samples)
            yield self.checked(lead, values, begin)
            begin += length

    def plain_lengths(self, leads: list[_Lead], lengths: list[int], there: int) -> list[int]:
        """Bytes of every lead; an equal share of all where more are there than the lengths account for."""
        share, rest = divmod(there, 2 * len(leads))
        wanted = max(lead.samples for lead in leads)
        if sum(lengths) < there and not rest and 2 * share > max(lengths) and 2 * wanted > max(lengths) + 2:
            return [2 * share] * len(leads)
        return lengths

    def checked(self, lead: _Lead, values: np.ndarray, offset: int) -> np.ndarray:
        """As many as are stated, or one fewer, which is said."""
        if not len(values) or len(values) < lead.samples - 1:
            found = f"lead {scp_lead(lead.code)} has {len(values)} of {lead.samples} samples"
            raise self.broken("section 6", offset, found)
        if len(values) < lead.samples:
            found = f"lead {scp_lead(lead.code)} holds {len(values)} samples, {lead.samples} are stated"
            warnings.warn(f"{self.path}: {found}; those that are there are read", stacklevel=6)
        return values[: lead.samples]

    def decoder(self) -> Decoder | None:
        """What reads the Huffman codes that section 2 says the samples are; None where they are no codes."""
        if 2 not in self.sections:
            return None
        at, size = self.section(2)
        (tables,) = self.unpack("<H", at, "section 2")
        if tables == _DEFAULT_TABLE:
            return huffman_counts
        try:
            return own_tables(self.data[at : at + size]) if tables else None
        except ValueError as error:
            raise self.broken("section 2", at, f"Huffman tables of its own, {error}") from None

    def about(self, stated: Stated) -> dict[str, Any]:
        """What sections 1, 7 and 8 say; a damaged one costs what it says, not the signal."""
        tags = dict(self.tags()) if 1 in self.sections else {}
        age = tags.get(4, b"")
        years = struct.unpack("<H", age[:2])[0] * _YEARS.get(age[2], 0.0) if len(age) >= 3 else 0.0
        born = tags.get(5, b"")
        patient = {
            "name": " ".join(filter(None, (_text(tags.get(1)), _text(tags.get(0)), _text(tags.get(3))))),
            "id": _text(tags.get(2)),
            "birth_date": (moment(*struct.unpack("<HBB", born[:4])) or "") if len(born) >= 4 else "",
        }
        sex = {1: "male", 2: "female"}.get((tags.get(8) or b"\0")[0], "")
        return {
            "metadata": facts(f"{years:g}", sex),
            "start": _start(tags.get(25, b""), tags.get(26, b"")),
            "filters": _filters(tags),
            "patient": kept(patient, stated),
            "measurements": dict(self.measurements()),
            "statements": list(self.statements()),
        }

    def tags(self) -> Iterator[tuple[int, bytes]]:
        at, size = self.sections[1]
        end = at + size
        while at + 3 <= end:
            tag, length = struct.unpack_from("<BH", self.data, at)
            if tag == 255 or at + 3 + length > end:
                return
            yield tag, self.data[at + 3 : at + 3 + length]
            at += 3 + length

    def measurements(self) -> Iterator[tuple[str, str]]:
        at, size = self.sections.get(7, (0, 0))
        if size >= 6:
            for name, value in zip(_INTERVALS, struct.unpack_from("<HH", self.data, at + 2)):
                if 0 < value < 29999:  # above stand the reasons why there is none
                    yield name, f"{value} ms"

    def statements(self) -> Iterator[str]:
        at, size = self.sections.get(8, (0, 0))
        end, at = at + size, at + 9
        while at + 3 <= end:
            _, length = struct.unpack_from("<BH", self.data, at)
            text = _text(self.data[at + 3 : min(at + 3 + length, end)])
            if text:
                yield text
            at += 3 + length


_INSTEAD = "export the record as DICOM or HL7 aECG"


def _undone(values: np.ndarray, encoding: int) -> np.ndarray:
    """Counts from their first or second differences, of which the first one or two are counts themselves; all of them
    have 16 bits, and wrapped where the recorder computed them.
    """
    if encoding == 0:
        return values
    wide = values.astype(np.int64)
    if encoding == 2 and len(wide) > 1:
        wide = np.concatenate([wide[:1], np.cumsum([wide[1] - wide[0], *wide[2:]])])
    return np.cumsum(wide).astype(np.int16)


def _text(stored: bytes | None) -> str:
    return (stored or b"").partition(b"\0")[0].decode("latin-1").strip()


def _start(date: bytes, time: bytes) -> str | None:
    if len(date) < 4:
        return None
    return moment(*struct.unpack("<HBB", date[:4]), *time[:3])


def _filters(tags: dict[int, bytes]) -> dict[str, str]:
    found = {}
    if len(tags.get(27, b"")) >= 2 and (value := struct.unpack("<H", tags[27][:2])[0]):
        found["highpass"] = f"{value / 100:g}"
    if len(tags.get(28, b"")) >= 2 and (value := struct.unpack("<H", tags[28][:2])[0]):
        found["lowpass"] = str(value)
    notch = {1: "60", 2: "50"}.get((tags.get(29) or b"\0")[0] & 3)
    return found | ({"notch": notch} if notch else {})
