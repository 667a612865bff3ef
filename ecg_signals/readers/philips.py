"""Philips XML (Sierra 1.03, 1.04): parsed waveforms, plain or XLI-compressed, without the calibration pulse."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.limits import MOST_LEADS, UNPACKED_PER_PACKED, shown
from ecg_signals.readers.base import Reader
from ecg_signals.readers.lzw import unpack_lzw
from ecg_signals.readers.stated import Stated
from ecg_signals.readers.vendor import (
    Piece,
    check_counts,
    check_length,
    decode_base64,
    facts,
    kept,
    lead_name,
    number,
    vendor_record,
)
from ecg_signals.readers.xml_tree import below, child, read_xml, root_of, scalars, text_of
from ecg_signals.registry import register_reader
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.record import Record

_FREE = 1 << 20  # bytes that may be unpacked in any case
_PULSE = 50  # samples in which all leads are equal that no heart makes
_FILTERS = {"highpass": "highpassfiltersetting", "lowpass": "lowpassfiltersetting", "notch": "notchfiltersetting"}


@register_reader("philips")
class PhilipsReader(Reader):
    """Philips XML of the versions 1.03 and 1.04 (restingecgdata)."""

    note = "Philips XML"
    stated_by = "its signalcharacteristics"

    def sniff(self, head: bytes) -> bool:
        return root_of(head) == "restingecgdata"

    def read(self, found: Path, id: int | str | None, stated: Stated) -> Record:
        """The leads of `parsedwaveforms`. Samples at the end that all leads share, a calibration pulse, are left out;
        `metadata["stripped_samples"]` counts them.
        """
        root = read_xml(found)
        signal = next(below(root, "signalcharacteristics"), None)
        waveforms = next(below(root, "parsedwaveforms"), None)
        if signal is None or waveforms is None:
            raise ConfigError(f"{found} holds no signalcharacteristics with parsedwaveforms; export it with waveforms")
        rate = number(found, "samplingrate", text_of(signal, "samplingrate"))
        resolution = text_of(signal, "resolution") or text_of(signal, "signalresolution")
        step = number(found, "resolution", resolution)
        names = _names(found, signal, waveforms)
        samples = _stated_samples(found, waveforms, len(names), rate)
        counts = _counts(found, waveforms, names, samples)
        if samples is not None:
            check_length(found, "parsedwaveforms", counts.shape[1], samples)
            counts = counts[:, :samples]
        about = _about(root, stated)
        whole = counts.shape[1]
        counts = counts[:, : _end(counts)]
        about["metadata"]["stripped_samples"] = [0, whole - counts.shape[1]]
        pieces = [Piece(name, row, f"{step!r}uV") for name, row in zip(names, counts)]
        return vendor_record(found, pieces, rate, stated, **about)


def _names(path: Path, signal: Element, waveforms: Element) -> list[str]:
    """Leads in their order; version 1.03 names none and has the standard ones."""
    labels = (waveforms.get("leadlabels") or "").split()
    valid = text_of(signal, "numberchannelsvalid")
    count = int(number(path, "numberchannelsvalid", valid)) if valid else len(labels) or len(LEADS)
    if not 0 < count <= MOST_LEADS:
        raise ConfigError(f"{path} states {count} leads; 1 to {MOST_LEADS} are believed (docs/limits.md)")
    if labels:
        return labels[:count] if len(labels) >= count else labels
    if count > len(LEADS):
        raise ConfigError(f"{path} states {count} leads, but names none; only the standard twelve may go without")
    return list(LEADS[:count])


def _counts(path: Path, waveforms: Element, names: list[str], stated: int | None) -> np.ndarray:
    """float64 [leads, samples], of which `stated` are stated for each lead."""
    flag = (waveforms.get("compressflag") or "True").lower()
    method = waveforms.get("compression") or (waveforms.get("compressmethod") if flag == "true" else "") or ""
    if method.upper() == "XLI":
        data = decode_base64(path, "parsedwaveforms", waveforms.text)
        return _completed(path, names, _unpacked(path, data, len(names)))
    if method and method.lower() not in ("none", "uncompressed"):
        raise ConfigError(f"{path} is compressed by '{shown(method, 20)}'; only XLI is known. Export it uncompressed")
    counts = _plain(path, waveforms)
    samples, rest = divmod(len(counts), len(names))
    if stated and len(counts) % stated == 0 and len(counts) > stated * len(names):
        samples, rest = stated, 0  # room for sixteen leads, of which the first ones are valid
    if rest:
        raise ConfigError(f"{path}: parsedwaveforms has {len(counts)} samples, no whole ones of {len(names)} leads")
    return counts[: samples * len(names)].reshape(len(names), samples)


def _plain(path: Path, waveforms: Element) -> np.ndarray:
    """float64: uncompressed samples, one lead after the other, as numbers or as base64."""
    if (waveforms.get("dataencoding") or "").lower() != "plain":
        data = decode_base64(path, "parsedwaveforms", waveforms.text)
        if len(data) % 2:
            raise ConfigError(f"{path}: parsedwaveforms has {len(data)} bytes, no whole samples; get the file again")
        return np.frombuffer(data, "<i2").astype(np.float64)
    try:
        return np.array((waveforms.text or "").split(), dtype=np.float64)
    except ValueError:
        raise ConfigError(f"{path}: parsedwaveforms holds something else than numbers; get the file again") from None


def _unpacked(path: Path, data: bytes, leads: int) -> np.ndarray:
    """int64 [leads, samples] of XLI chunks, residuals of the limb leads among them."""
    rows: list[np.ndarray] = []
    most, at = max(_FREE, UNPACKED_PER_PACKED * len(data)), 0
    for lead in range(leads):
        if at + 8 > len(data):
            raise ConfigError(f"{path}: parsedwaveforms is truncated: lead {lead + 1} of {leads} begins at byte {at}")
        size, start = struct.unpack_from("<i2xh", data, at)
        if not 0 < size <= len(data) - at - 8:
            raise ConfigError(f"{path}: parsedwaveforms is truncated: lead {lead + 1} states {size} bytes at byte {at}")
        plain = unpack_lzw(data[at + 8 : at + 8 + size], most)
        if plain is None or len(plain) % 2:
            raise ConfigError(
                f"{path}: lead {lead + 1} of parsedwaveforms, at byte {at}, does not unpack; get it again"
            )
        most -= len(plain)
        rows.append(_integrated(plain, start))
        at += 8 + size
    if len({len(row) for row in rows}) > 1:
        raise ConfigError(f"{path}: the leads of parsedwaveforms unpack to different lengths; get the file again")
    return np.stack(rows).astype(np.int64)


def _integrated(plain: bytes, start: int) -> np.ndarray:
    """int16 samples from second differences: all high bytes, then all low ones; sums wrap as the recorder's did."""
    half = len(plain) // 2
    parts = np.frombuffer(plain, np.uint8).astype(np.int64)
    stored = ((parts[:half] << 8) | parts[half:]).astype(np.uint16).view(np.int16).astype(np.int64)
    if half <= 2:
        return stored
    bends = np.concatenate([[start], stored[2:-1] - 64])
    steps = np.concatenate([stored[:1], [stored[1] - stored[0]], -bends])
    steps[1:] = np.cumsum(steps[1:])
    return np.cumsum(steps).astype(np.uint64).astype(np.uint16).view(np.int16)


def _completed(path: Path, names: list[str], rows: np.ndarray) -> np.ndarray:
    """float64 [leads, samples]: III, aVR, aVL and aVF from I, II and their stored residuals."""
    signal = rows.astype(np.float64)
    if len(names) < 3:
        return signal
    if [lead_name(name)[0] for name in names[:6]] != list(LEADS[:6]):
        raise ConfigError(
            f"{path} is compressed, its first leads {shown(' '.join(names[:6]))}; only I II III aVR aVL aVF are known"
        )
    first, second, third = signal[0], signal[1], signal[1] - signal[0] - signal[2]
    signal[2] = third
    signal[3] = -(first + second) / 2 - signal[3]
    signal[4] = (first - third) / 2 - signal[4]
    signal[5] = (second + third) / 2 - signal[5]
    return signal


def _stated_samples(path: Path, waveforms: Element, leads: int, rate: float) -> int | None:
    """Samples of a lead by the stated duration, None where there is none."""
    duration = waveforms.get("durationperchannel")
    if not duration:
        return None
    stated = round(number(path, "durationperchannel", duration) * rate / 1000)
    check_counts(path, leads, stated)
    return stated


def _end(counts: np.ndarray) -> int:
    """Samples before those at the end in which all leads are equal; all of them where that lasts but a moment."""
    if len(counts) < 3:
        return counts.shape[1]
    differ = np.flatnonzero((counts != counts[0]).any(axis=0))
    end = int(differ[-1]) + 1 if len(differ) else 0
    return end if end and counts.shape[1] - end >= _PULSE else counts.shape[1]


def _about(root: Element, stated: Stated) -> dict[str, Any]:
    person = next(below(root, "generalpatientdata"), None)
    name = child(person, "name")
    patient = {
        "name": " ".join(filter(None, (text_of(name, "firstname"), text_of(name, "lastname")))),
        "id": text_of(person, "patientid"),
        "birth_date": text_of(person, "age", "dateofbirth"),
    }
    taken = next(below(root, "dataacquisition"), None)
    date = ((taken.get("date") or ""), (taken.get("time") or "")) if taken is not None else ("", "")
    bandwidth = next(below(root, "reportbandwidth"), None)
    interpretation = next(below(root, "interpretation"), None)
    measured = next(below(interpretation, "globalmeasurements"), None)
    if measured is None:
        measured = next(below(interpretation, "interpretationmeasurements"), None)
    return {
        "metadata": facts(text_of(person, "age", "years"), text_of(person, "sex")),
        "start": "T".join(filter(None, date)) or None,
        "filters": {key: text for key, tag in _FILTERS.items() if (text := text_of(bandwidth, tag))},
        "patient": kept(patient, stated),
        "measurements": scalars(measured),
        "statements": list(_statements(interpretation)),
    }


def _statements(interpretation: Element | None) -> Iterator[str]:
    for item in below(interpretation, "statement"):
        if text := " ".join(filter(None, (text_of(item, "leftstatement"), text_of(item, "rightstatement")))):
            yield text
    for item in below(interpretation, "severity"):
        if text := text_of(item):
            yield text
