"""What all formats of recorders share: leads in any units and places in time -> a Record in mV, within the limits."""

import base64
import binascii
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.limits import (
    FREE_BYTES,
    HIGHEST_RATE,
    LOWEST_RATE,
    MOST_LEAD_SAMPLES,
    MOST_LEADS,
    UNPACKED_PER_PACKED,
    shown,
)
from ecg_signals.readers.stated import Stated, remove_infinite
from ecg_signals.readers.units import to_millivolt, voltage_factor
from ecg_signals.signal.leads import LEADS, OTHER_LEADS, upright_lead
from ecg_signals.signal.record import Record

_PREFIX = re.compile(r"(?:(?:ecg|ekg|lead|channel)[\s_.:-]+)+(?=\w)|(?:ecg|ekg|lead)(?=(?:a?v|i|ml))", re.IGNORECASE)
_VERBS = "confirm|review|referr|sign|interpret|edit|verifi|approv|report|order|request|validat"
_SIGNED = re.compile(rf"\W*(?:(?:\w+ly )?(?:un)?(?:{_VERBS})ed|over-?read) by\b", re.IGNORECASE)  # who stands behind it
_REFERENCE = re.compile(r"[\s_-]ref$", re.IGNORECASE)  # of EDF labels: against the recorder's reference
_SPELLING = {name.lower(): name for name in (*LEADS, *OTHER_LEADS)}
_SCP_LEADS = {
    1: "I", 2: "II", 9: "V7", 10: "V2R", 11: "V3R", 12: "V4R", 13: "V5R", 14: "V6R", 15: "V7R", 16: "Vx", 17: "Vy",
    18: "Vz", 61: "III", 62: "aVR", 63: "aVL", 64: "aVF", 65: "-aVR", 66: "V8", 67: "V9", 68: "V8R", 69: "V9R",
    **{2 + number: f"V{number}" for number in range(1, 7)},
}  # fmt: skip


@dataclass
class Piece:
    """Samples of one lead: `values` float64 [samples] in `units`, from sample `start` of the record on."""

    lead: str
    values: np.ndarray
    units: str
    start: int = 0


def scp_lead(code: int) -> str:
    """The lead with a code of SCP-ECG, which the MDC codes of DICOM share; "lead 20" for one without a name here."""
    return _SCP_LEADS.get(code, f"lead {code}")


def lead_name(text: str) -> tuple[str, int]:
    """The lead that a label means ("ECG I", "Lead V3R", "EKG aVR-"), and -1 if its values must be turned over.

    A label of no known lead is kept as it is.
    """
    lead, sign = upright_lead(_REFERENCE.sub("", text))
    if lead in LEADS:
        return lead, sign
    plain = _PREFIX.sub("", lead.strip(), count=1).strip()
    return _SPELLING.get(plain.lower(), shown(lead, 32)), 1


def vendor_record(
    path: Path, pieces: Sequence[Piece], rate: float, stated: Stated, most: int = MOST_LEAD_SAMPLES, **about: Any
) -> Record:
    """A Record in mV of the leads of a recorder's file, in the order in which they first appear.

    Args:
        pieces: of one lead may be several, at different times; what lies between them is NaN. The record begins with
            the first of all.
        rate: Hz.
        stated: its units, where the caller gives some, stand in place of the pieces'.
        most: samples of a lead that are believed.
        about: further attributes of Record.
    Raises: ConfigError for no samples, too many, a rate that no recorder has, or units that are no voltage.
    """
    if not pieces or not any(len(piece.values) for piece in pieces):
        raise ConfigError(f"{path} holds no samples of any lead; get the file again")
    check_rate(path, rate)
    names = [lead_name(piece.lead) for piece in pieces]
    leads = list(dict.fromkeys(name for name, _ in names))
    begin = min(piece.start for piece in pieces)
    length = max(piece.start + len(piece.values) for piece in pieces) - begin
    check_counts(path, len(leads), length, most)
    filled = sum(len(piece.values) for piece in pieces)
    if 4 * len(leads) * length > max(FREE_BYTES, UNPACKED_PER_PACKED * 4 * filled):
        raise ConfigError(f"{path} states gaps of {length} samples around {filled}; get the file again")
    signal = np.full((len(leads), length), np.nan, dtype=stated.dtype)
    other = next((piece for piece in pieces if stated.units and _differ(stated.units, piece.units)), None)
    if other is not None:
        told = f"says {shown(other.units, 20)} for lead {shown(other.lead, 20)}"
        warnings.warn(f"{path} {told}; it is read in {stated.units}, as was asked for", stacklevel=5)
    placed = [replace(piece, start=piece.start - begin) for piece in pieces]
    _fill(path, signal, placed, names, leads, stated)
    turned = sorted({name for name, sign in names if sign < 0})
    if turned:
        warnings.warn(f"{path}: {', '.join(turned)} turned over to give the upright lead", stacklevel=5)
    remove_infinite(path, signal)
    if not stated.personal:
        about["statements"] = [text for text in about.get("statements", ()) if not _SIGNED.match(text)]
    return Record(signal, int(rate) if rate == int(rate) else float(rate), leads, **about)


def _differ(units: str, other: str) -> bool:
    found = [to_millivolt(text) for text in (units, other)]
    return None not in found and found[0] != found[1]


def _fill(
    path: Path, signal: np.ndarray, pieces: Sequence[Piece], names: Sequence[tuple[str, int]], leads: list[str],
    stated: Stated,
) -> None:  # fmt: skip
    """Writes the pieces into `signal` [leads, samples], in place; the earlier of two that overlap counts."""
    rows = {name: row for row, name in enumerate(leads)}
    ends: dict[str, int] = {}
    for piece, (name, sign) in sorted(zip(pieces, names), key=lambda pair: pair[0].start):
        factor = sign * voltage_factor(stated.units or piece.units, f"lead {name} of {path}")
        place = signal[rows[name], piece.start : piece.start + len(piece.values)]
        with np.errstate(over="ignore", invalid="ignore"):
            values = piece.values * factor
        if piece.start < ends.get(name, 0):
            warnings.warn(f"{path} holds lead {name} twice for the same time; the first one counts", stacklevel=6)
            values = np.where(np.isnan(place), values, place)
        with np.errstate(over="ignore"):
            place[:] = values
        ends[name] = max(ends.get(name, 0), piece.start + len(piece.values))
    if len({ends[name] for name in leads}) > 1 and len(pieces) == len(leads):
        warnings.warn(f"{path}: its leads do not end together; what the shorter ones lack is missing", stacklevel=6)


def check_counts(path: Path, leads: int, samples: int, most: int = MOST_LEAD_SAMPLES) -> None:
    """Raises: ConfigError for more leads or samples of a lead than are believed."""
    if leads > MOST_LEADS or samples > most:
        believed = f"at most {MOST_LEADS} of {most} are believed (docs/limits.md)"
        raise ConfigError(f"{path} states {leads} leads of {samples} samples; {believed}")


def check_rate(path: Path, rate: float) -> None:
    """Raises: ConfigError for a sample rate that no recorder has."""
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        believed = f"from {LOWEST_RATE:g} to {HIGHEST_RATE:g} Hz are believed"
        raise ConfigError(f"{path} has the sample rate {rate:g} Hz; {believed}. Get the file again")


def check_length(path: Path, where: str, found: int, expected: int) -> None:
    """Warns of more samples than are stated. Raises: ConfigError for fewer, naming the place."""
    if found < expected:
        raise ConfigError(f"{path} is truncated: {where} has {found} of {expected} samples; get the file again")
    if found > expected:
        warnings.warn(f"{path}: {where} has {found} samples, {expected} are stated; the rest is left out", stacklevel=5)


def rate_of_interval(interval: str, unit_seconds: str = "1") -> float | None:
    """Hz of a sampling interval that a file states as a decimal number; None for no positive number.

    Intervals are rounded: 1667 us means 600 Hz, 0.001667 s as well. The whole rate is taken whose rounded interval it
    is, if there is just one.
    """
    try:
        step = Decimal(interval)
    except InvalidOperation:
        return None
    if not step.is_finite() or step <= 0 or len(interval) > 40:
        return None
    unit = Decimal(unit_seconds)
    exact = 1 / (step * unit)
    digit = Decimal(1).scaleb(int(step.as_tuple().exponent))
    near = round(exact)
    fits = [rate for rate in (near - 1, near, near + 1) if rate > 0 and abs(1 / (rate * unit) - step) < digit]
    whole = [rate for rate in fits if abs(1 / (rate * unit) - step) <= digit / 2] or fits
    return float(near if near == exact or whole == [near] else exact)


def iso_time(text: str, forms: Iterable[str]) -> str | None:
    """A date and time written in one of `forms` (of strptime) as ISO 8601, without its zone; None for anything else."""
    for form in forms:
        try:
            return datetime.strptime(text.strip(), form).replace(tzinfo=None).isoformat()
        except ValueError:
            continue
    return None


def moment(*parts: int) -> str | None:
    """Year, month, day and perhaps hour, minute and second as ISO 8601; None where there is no such moment."""
    try:
        when = datetime(*parts)  # type: ignore[arg-type]
    except (ValueError, TypeError, OverflowError):
        return None
    return when.isoformat() if len(parts) > 3 else when.date().isoformat()


def later(start: str | None, seconds: float) -> str | None:
    """A date and time in ISO 8601 so many seconds later; None for no such moment."""
    try:
        return (datetime.fromisoformat(start or "") + timedelta(seconds=seconds)).isoformat()
    except (ValueError, OverflowError):
        return None


def number(path: Path, where: str, text: str | None) -> float:
    """A finite number that a file states as text. Raises: ConfigError naming the place."""
    try:
        value = float((text or "").strip()) if len(text or "") <= 64 else np.nan
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        found = f"'{shown(text, 20)}'" if text else "nothing"
        raise ConfigError(f"{path}: {where} holds {found}; expected a number. Get the file again")
    return value


def decode_base64(path: Path, where: str, text: str | None) -> bytes:
    """The bytes that a text stands for. Raises: ConfigError naming the place."""
    try:
        return base64.b64decode("".join((text or "").split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ConfigError(f"{path}: {where} is truncated or no base64 ({error}); get the file again") from None


def kept(patient: dict[str, str], stated: Stated) -> dict[str, str]:
    """What names a person, without empty entries, if it was asked for."""
    return {key: value for key, value in patient.items() if value} if stated.personal else {}


def facts(age: str = "", sex: str = "") -> dict[str, Any]:
    """Entries of `Record.metadata` about the patient: age in years as a number, sex as "female" or "male"."""
    found: dict[str, Any] = {}
    try:
        if 0 < float(age) < 130:
            found["age"] = float(age)
    except ValueError:
        pass
    word = {"m": "male", "f": "female"}.get(sex.strip()[:1].lower()) if sex.strip().lower() != "unknown" else None
    return found | ({"sex": word} if word else {})
