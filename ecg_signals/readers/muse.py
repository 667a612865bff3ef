"""GE MUSE XML: the rhythm waveform, and the four limb leads that it does not store."""

import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.limits import shown
from ecg_signals.readers.base import Reader
from ecg_signals.readers.stated import Stated
from ecg_signals.readers.vendor import (
    Piece,
    check_length,
    decode_base64,
    facts,
    iso_time,
    kept,
    lead_name,
    number,
    vendor_record,
)
from ecg_signals.readers.xml_tree import below, child, read_xml, root_of, scalars, text_of
from ecg_signals.registry import register_reader
from ecg_signals.signal.leads import LIMB_LEADS, derive_limb_leads
from ecg_signals.signal.record import Record

_TYPES = {1: "i1", 2: "<i2", 4: "<i4"}  # bytes of a sample
_MISSING = -(2**15)  # the lowest count
_TIMES = ("%m-%d-%Y %H:%M:%S", "%m-%d-%Y", "%m/%d/%Y %H:%M:%S", "%Y-%m-%d %H:%M:%S")


@register_reader("muse")
class MuseReader(Reader):
    """GE MUSE XML (RestingECG)."""

    note = "GE MUSE XML"
    stated_by = "its Waveform"

    def sniff(self, head: bytes) -> bool:
        return root_of(head) == "RestingECG"

    def read(self, found: Path, id: int | str | None, stated: Stated) -> Record:
        root = read_xml(found)
        waveform = _rhythm(found, root)
        rate = number(found, "SampleBase", text_of(waveform, "SampleBase"))
        exponent = number(found, "SampleExponent", text_of(waveform, "SampleExponent") or "0")
        if not -9 <= exponent <= 9:
            raise ConfigError(f"{found}: SampleExponent is {exponent:g}; get the file again")
        wrong: list[str] = []
        pieces = [_piece(found, lead, wrong) for lead in waveform if lead.tag == "LeadData"]
        about = _about(root, waveform, stated)
        record = vendor_record(found, _completed(pieces, about), rate * 10**exponent, stated, **about)
        if wrong:
            where = f"the checksums of {', '.join(wrong)} do not fit"
            warnings.warn(f"{found}: {where}; their samples may be wrong", stacklevel=3)
            record.metadata["wrong_checksum"] = wrong
        return record


def _rhythm(path: Path, root: Element) -> Element:
    waveforms = [item for item in root if item.tag == "Waveform"]
    found = [item for item in waveforms if text_of(item, "WaveformType").lower() == "rhythm"]
    if not found:
        kinds = ", ".join(shown(text_of(item, "WaveformType"), 20) for item in waveforms[:5]) or "none"
        raise ConfigError(f"{path} holds no Waveform of the type Rhythm (there are: {kinds}); export the whole record")
    if len(found) > 1:
        warnings.warn(f"{path} holds {len(found)} rhythm waveforms; the first one is read", stacklevel=4)
    return found[0]


def _piece(path: Path, lead: Element, wrong: list[str]) -> Piece:
    """The samples of one LeadData; its name is added to `wrong` when its checksum does not fit them."""
    name = text_of(lead, "LeadID")
    where = f"LeadData {shown(name, 20)}"
    data = decode_base64(path, f"WaveFormData of {where}", text_of(lead, "WaveFormData"))
    crc = text_of(lead, "LeadDataCRC32")
    if crc and number(path, f"LeadDataCRC32 of {where}", crc) % 2**32 != zlib.crc32(data):
        wrong.append(lead_name(name)[0])
    width = int(number(path, f"LeadSampleSize of {where}", text_of(lead, "LeadSampleSize") or "2"))
    if width not in _TYPES or len(data) % width:
        raise ConfigError(f"{path}: {where} has {len(data)} bytes of samples of {width} bytes; get the file again")
    counts = np.frombuffer(data, _TYPES[width])
    stated = int(
        number(path, f"LeadSampleCountTotal of {where}", text_of(lead, "LeadSampleCountTotal") or f"{len(counts)}")
    )
    check_length(path, where, len(counts), stated)
    counts = counts[: max(stated, 0)]
    step = number(path, f"LeadAmplitudeUnitsPerBit of {where}", text_of(lead, "LeadAmplitudeUnitsPerBit"))
    baseline = number(path, f"FirstSampleBaseline of {where}", text_of(lead, "FirstSampleBaseline") or "0")
    values = (
        np.where(counts == _MISSING, np.nan, (counts - baseline) * step) if width == 2 else (counts - baseline) * step
    )
    if text_of(lead, "LeadOff").upper() == "TRUE":
        warnings.warn(f"{path}: lead {shown(name, 20)} was off, as the file says; it is missing", stacklevel=4)
        values = np.full(len(counts), np.nan)
    return Piece(name, values, text_of(lead, "LeadAmplitudeUnits") or "uV")


def _completed(pieces: list[Piece], about: dict[str, Any]) -> list[Piece]:
    """With the four limb leads that I and II give, where none of them is stored; `derived` of `about` names them."""
    have = {lead_name(piece.lead)[0]: piece for piece in pieces}
    if not {"I", "II"} <= set(have) or set(have) & set(LIMB_LEADS[2:]) or len(have) < len(pieces):
        return pieces
    first, second = have["I"], have["II"]
    if len(first.values) != len(second.values) or first.units != second.units:
        return pieces
    empty = [np.full(len(first.values), np.nan)] * 4
    rows, derived = derive_limb_leads(np.stack([first.values, second.values, *empty]), LIMB_LEADS)
    about["derived"] = derived
    return [*pieces, *(Piece(name, rows[LIMB_LEADS.index(name)], first.units) for name in derived)]


def _about(root: Element, waveform: Element, stated: Stated) -> dict[str, Any]:
    person, test = child(root, "PatientDemographics"), child(root, "TestDemographics")
    age = text_of(person, "PatientAge") if text_of(person, "AgeUnits").upper() in ("", "YEARS") else ""
    patient = {
        "name": f"{text_of(person, 'PatientFirstName')} {text_of(person, 'PatientLastName')}".strip(),
        "id": text_of(person, "PatientID"),
        "birth_date": text_of(person, "DateofBirth"),
    }
    filters = {"highpass": "HighPassFilter", "lowpass": "LowPassFilter", "notch": "ACFilter"}
    when = f"{text_of(test, 'AcquisitionDate')} {text_of(test, 'AcquisitionTime')}"
    return {
        "metadata": facts(age, text_of(person, "Gender")),
        "start": iso_time(when, _TIMES),
        "filters": {key: text_of(waveform, name) for key, name in filters.items() if text_of(waveform, name)},
        "patient": kept(patient, stated),
        "measurements": scalars(child(root, "RestingECGMeasurements")),
        "statements": list(_statements(child(root, "Diagnosis"))),
    }


def _statements(diagnosis: Element | None) -> Iterator[str]:
    """The lines of the interpretation, of which one may be several statements long."""
    line: list[str] = []
    for item in below(diagnosis, "DiagnosisStatement"):
        line.append(text_of(item, "StmtText"))
        if any((flag.text or "").strip() == "ENDSLINE" for flag in item if flag.tag == "StmtFlag"):
            yield " ".join(filter(None, line))
            line = []
    if any(line):
        yield " ".join(filter(None, line))
