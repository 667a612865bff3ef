"""HL7 annotated ECG (aECG): the sequence sets of the first rhythm series."""

import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.limits import shown
from ecg_signals.readers.base import Reader
from ecg_signals.readers.stated import Stated
from ecg_signals.readers.units import voltage_factor
from ecg_signals.readers.vendor import Piece, facts, iso_time, kept, number, rate_of_interval, vendor_record
from ecg_signals.readers.xml_tree import below, child, read_xml, root_of, text_of
from ecg_signals.registry import register_reader
from ecg_signals.signal.record import Record

_SECONDS = {"s": "1", "ms": "0.001", "us": "0.000001", "µs": "0.000001", "min": "60"}
_TIMES = ("%Y%m%d%H%M%S.%f", "%Y%m%d%H%M%S", "%Y%m%d%H%M", "%Y%m%d")
_LEAD = "_ECG_LEAD_"
_FRANK = {"X": "Vx", "Y": "Vy", "Z": "Vz"}
_FILTERS = {"HIGH_PASS": "highpass", "LOW_PASS": "lowpass", "NOTCH": "notch"}


@register_reader("aecg")
class AecgReader(Reader):
    """HL7 aECG files, Mindray's among them."""

    note = "HL7 aECG"
    stated_by = "its sequences"

    def sniff(self, head: bytes) -> bool:
        return root_of(head) == "AnnotatedECG"

    def read(self, found: Path, id: int | str | None, stated: Stated) -> Record:
        root = read_xml(found)
        series = _series(found, root)
        rate, pieces = _pieces(found, series)
        return vendor_record(found, pieces, rate, stated, **_about(root, series, stated))


def _code(element: Element | None) -> str:
    found = child(element, "code")
    return (found.get("code") or "") if found is not None else ""


def _value(element: Element | None, *names: str) -> str:
    found = child(element, *names)
    return (found.get("value") or "").strip() if found is not None else ""


def _series(path: Path, root: Element) -> Element:
    """The first series of rhythm; its derived series (representative beats) lie inside it and are not asked."""
    series = [item for part in root if part.tag == "component" for item in part if item.tag == "series"]
    found = [item for item in series if _code(item) == "RHYTHM"]
    if not found:
        kinds = ", ".join(shown(_code(item), 20) or "none" for item in series[:5]) or "no series"
        raise ConfigError(f"{path} holds no series of rhythm (its codes: {kinds}); get the whole record")
    if len(found) > 1:
        warnings.warn(f"{path} holds {len(found)} rhythm series; the first one is read", stacklevel=4)
    return found[0]


def _pieces(path: Path, series: Element) -> tuple[float, list[Piece]]:
    """Hz, and the leads of all sequence sets at the times of their heads."""
    sets = [item for part in series if part.tag == "component" for item in part if item.tag == "sequenceSet"]
    pieces: list[Piece] = []
    rate, origin = 0.0, None
    for found in sets:
        sequences = [item for part in found for item in part if item.tag == "sequence"]
        head, own = _clock(path, sequences)
        if rate and own != rate:
            warnings.warn(f"{path}: a sequence set of {own:g} Hz is left out beside one of {rate:g} Hz", stacklevel=4)
            continue
        rate, origin = own, head if origin is None else origin
        start = round((head - origin) * rate) if head is not None and origin is not None else 0
        pieces += [_piece(path, item, start) for item in sequences if _LEAD in _code(item)]
    return rate, pieces


def _clock(path: Path, sequences: list[Element]) -> tuple[float | None, float]:
    """Seconds at which a sequence set begins, None where it does not say so, and its Hz."""
    for item in sequences:
        if not _code(item).startswith("TIME"):
            continue
        increment = child(item, "value", "increment")
        unit = _SECONDS.get((increment.get("unit") or "s").strip() if increment is not None else "")
        rate = rate_of_interval(_value(item, "value", "increment"), unit) if unit else None
        if rate is None:
            raise ConfigError(f"{path}: the increment of {_code(item)} is no time; get the file again")
        head = _value(item, "value", "head")
        if _code(item) == "TIME_ABSOLUTE":
            when = iso_time(head[:21].partition("+")[0].partition("-")[0], _TIMES)
            return datetime.fromisoformat(when).timestamp() if when else None, rate
        begin = child(item, "value", "head")
        seconds = _SECONDS.get((begin.get("unit") or "s").strip() if begin is not None else "s", "1")
        return number(path, "head of TIME_RELATIVE", head or "0") * float(seconds), rate
    raise ConfigError(f"{path}: a sequenceSet holds no TIME_ABSOLUTE or TIME_RELATIVE; get the file again")


def _piece(path: Path, sequence: Element, start: int) -> Piece:
    name = _code(sequence).partition(_LEAD)[2]
    lead = f"-{name[:-3]}" if name.lower().endswith("neg") else _FRANK.get(name.upper(), name)
    where = f"sequence {shown(_code(sequence), 40)}"
    value = child(sequence, "value")
    digits = text_of(value, "digits")
    try:
        counts = np.array(digits.split(), dtype=np.float64)
    except ValueError:
        raise ConfigError(f"{path}: {where} has digits that are no numbers; get the file again") from None
    scale = number(path, f"scale of {where}", _value(value, "scale"))
    units = _unit(value, "scale")
    origin = number(path, f"origin of {where}", _value(value, "origin") or "0")
    if origin and (other := _unit(value, "origin")) != units:
        origin *= voltage_factor(other, f"origin of {where}") / voltage_factor(units, f"scale of {where}")
    return Piece(lead, origin + scale * counts, units, start)


def _unit(value: Element | None, name: str) -> str:
    found = child(value, name)
    return (found.get("unit") or "").strip() or "no unit" if found is not None else "no unit"


def _about(root: Element, series: Element, stated: Stated) -> dict[str, Any]:
    subject = next(below(root, "trialSubject"), None)
    person = child(subject, "subjectDemographicPerson")
    name = child(person, "name")
    gender = child(person, "administrativeGenderCode")
    identity = child(subject, "id")
    patient = {
        "name": " ".join(" ".join(name.itertext()).split()) if name is not None else "",
        "id": (identity.get("extension") or "") if identity is not None else "",
        "patient_id": text_of(person, "PatientID"),
        "birth_date": _value(person, "birthTime"),
    }
    sex = {"M": "male", "F": "female"}.get((gender.get("code") or "").upper(), "") if gender is not None else ""
    begin = _value(root, "effectiveTime", "center") or _value(root, "effectiveTime", "low")
    return {
        "metadata": facts(text_of(person, "Age"), sex),
        "start": iso_time(begin or _value(series, "effectiveTime", "low"), _TIMES),
        "filters": dict(_filters(series)),
        "patient": kept(patient, stated),
        "measurements": dict(reversed(list(_measurements(series)))),  # the first of two counts
        "statements": list(_statements(series)),
    }


def _filters(series: Element) -> Iterator[tuple[str, str]]:
    for item in below(series, "controlVariable"):
        kind = next((name for part, name in _FILTERS.items() if _code(item).endswith(f"FILTER_{part}")), None)
        value = next((found for found in below(item, "value") if found.get("value")), None)
        if kind and value is not None:
            yield kind, shown(value.get("value"), 20)


def _measurements(series: Element) -> Iterator[tuple[str, str]]:
    for item in below(series, "annotation"):
        value = child(item, "value")
        if value is not None and value.get("value") and _code(item).startswith("MDC_ECG_"):
            yield _code(item).removeprefix("MDC_ECG_"), f"{value.get('value')} {value.get('unit') or ''}".strip()


def _statements(series: Element) -> Iterator[str]:
    for item in below(series, "annotation"):
        text = text_of(item, "value")
        if text and "INTERPRETATION" in _code(item):
            yield text
