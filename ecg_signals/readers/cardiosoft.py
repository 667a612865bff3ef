"""GE CardioSoft and Case XML: the resting strip."""

import warnings
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.limits import shown
from ecg_signals.readers.base import Reader
from ecg_signals.readers.stated import Stated
from ecg_signals.readers.vendor import Piece, check_length, facts, kept, moment, number, vendor_record
from ecg_signals.readers.xml_tree import below, child, read_xml, root_of, scalars, text_of
from ecg_signals.registry import register_reader
from ecg_signals.signal.record import Record

_CLOCK = ("Year", "Month", "Day", "Hour", "Minute", "Second")


@register_reader("cardiosoft")
class CardioSoftReader(Reader):
    """GE CardioSoft XML (CardiologyXML)."""

    note = "GE CardioSoft XML"
    stated_by = "its StripData"

    def sniff(self, head: bytes) -> bool:
        return root_of(head) == "CardiologyXML"

    def read(self, found: Path, id: int | str | None, stated: Stated) -> Record:
        root = read_xml(found)
        strips = [item for item in below(root, "StripData") if child(item, "WaveformData") is not None]
        if not strips:
            raise ConfigError(f"{found} holds no StripData with WaveformData; export the resting ECG with its curves")
        if len(strips) > 1:
            warnings.warn(f"{found} holds {len(strips)} strips; the first one is read", stacklevel=3)
        strip = strips[0]
        rate = number(found, "SampleRate", text_of(strip, "SampleRate"))
        pieces = [_piece(found, strip, item) for item in strip if item.tag == "WaveformData"]
        return vendor_record(found, pieces, rate, stated, **_about(root, stated))


def _piece(path: Path, strip: Element, data: Element) -> Piece:
    name = data.get("lead") or ""
    where = f"WaveformData {shown(name, 20)}"
    try:
        counts = np.array((data.text or "").replace(",", " ").split(), dtype=np.float64)
    except ValueError:
        raise ConfigError(f"{path}: {where} holds something else than numbers; get the file again") from None
    total = text_of(strip, "ChannelSampleCountTotal")
    if total:
        stated = int(number(path, "ChannelSampleCountTotal", total))
        check_length(path, where, len(counts), stated)
        counts = counts[: max(stated, 0)]
    resolution = child(strip, "Resolution")
    step = number(path, "Resolution", text_of(strip, "Resolution"))
    units = (resolution.get("units") or "uVperLsb") if resolution is not None else "uVperLsb"
    return Piece(name, counts, f"{step!r}{units.lower().partition('per')[0]}")


def _about(root: Element, stated: Stated) -> dict[str, Any]:
    person = next(below(root, "PatientInfo"), None)
    when = next(below(root, "ObservationDateTime"), None)
    name = child(person, "Name")
    patient = {
        "name": " ".join(" ".join(name.itertext()).split()) if name is not None else "",
        "id": text_of(person, "PID"),
        "birth_date": "-".join(text_of(person, "BirthDateTime", part) for part in _CLOCK[:3]).strip("-"),
    }
    strip = next(below(root, "StripData"), None)
    filters = {key: next((text for item in below(root, name) if (text := text_of(item))), "")
               for key, name in (("highpass", "HighPass"), ("lowpass", "LowPass"), ("notch", "Notch"))}  # fmt: skip
    diagnosis = next(below(root, "Interpretation"), None)
    return {
        "metadata": facts(text_of(person, "Age"), text_of(person, "Gender")),
        "start": _start(when),
        "filters": {key: value for key, value in filters.items() if value} if strip is not None else {},
        "patient": kept(patient, stated),
        "measurements": scalars(next(below(root, "RestingECGMeasurements"), None)),
        "statements": [text for item in below(diagnosis, "DiagnosisText") if (text := text_of(item))],
    }


def _start(when: Element | None) -> str | None:
    parts = [text_of(when, name) for name in _CLOCK]
    if not all(part.isdigit() and len(part) <= 4 for part in parts):
        return None
    return moment(*map(int, parts))
