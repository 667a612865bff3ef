"""DICOM waveforms: the rhythm groups of 12-lead, general, ambulatory and 32-bit ECG objects."""

import logging
import warnings
import zlib
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.limits import (
    MAX_VENDOR_BYTES,
    MOST_ANNOTATIONS,
    MOST_DICOM_ELEMENTS,
    MOST_DICOM_ITEMS,
    MOST_HOLTER_SAMPLES,
    MOST_LEADS,
    UNPACKED_PER_PACKED,
    read_regular,
    shown,
)
from ecg_signals.readers.base import Reader
from ecg_signals.readers.stated import Stated
from ecg_signals.readers.units import to_millivolt
from ecg_signals.readers.vendor import (
    Piece,
    check_counts,
    facts,
    iso_time,
    kept,
    lead_name,
    number,
    scp_lead,
    vendor_record,
)
from ecg_signals.registry import register_reader
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.record import Record

_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_ITEM = b"\xfe\xff\x00\xe0"
_END = b"\xfe\xff\xdd\xe0\0\0\0\0"  # of a sequence of undefined length
_UNDEFINED = 0xFFFFFFFF
_MDC = 1 << 17  # part 2 of the nomenclature, whose codes are counted from here on where the part is left out
_TYPES = {("SB", 8): "i1", ("UB", 8): "u1", ("SS", 16): "i2", ("US", 16): "u2", ("SL", 32): "i4", ("UL", 32): "u4"}
_BEATS = ("MEDIAN", "AVERAGE", "TEMPLATE", "BEAT", "DERIVED")  # in the labels of groups that are no recording
_TIMES = ("%Y%m%d%H%M%S.%f", "%Y%m%d%H%M%S", "%Y%m%d%H%M", "%Y%m%d")
_FILTERS = {"highpass": "FilterLowFrequency", "lowpass": "FilterHighFrequency", "notch": "NotchFilterFrequency"}
_PADDED_SECONDS = 1.0  # that a lead stays at a padding value which is also an ordinary one


@register_reader("dicom")
class DicomReader(Reader):
    """DICOM waveform objects; needs pydicom."""

    note = "DICOM waveforms"
    stated_by = "its channel definitions"

    def sniff(self, head: bytes) -> bool:
        return head[128:132] == b"DICM"

    def read(self, found: Path, id: int | str | None, stated: Stated) -> Record:
        """The group labelled rhythm, else the one with most samples among the original ones, joined with those that
        continue it or hold other leads; never median beats.
        """
        data = _dataset(found)
        with _quiet(found):
            groups = list(data.get("WaveformSequence") or ())
            if not groups:
                raise _no_waveform(found, data)
            chosen = _chosen(found, groups)
            rate = _number(found, chosen[0], "SamplingFrequency")
            big = not data.original_encoding[1] if data.original_encoding[1] is not None else False
            pieces = [piece for group in chosen for piece in _pieces(found, group, rate, big, stated)]
            first = chosen[0].ChannelDefinitionSequence[0]
            about = _about(data, rate, first, stated)
        return vendor_record(found, pieces, rate, stated, MOST_HOLTER_SAMPLES, **about)


class _quiet:
    """Holds pydicom's remarks back, but not ours, and makes what it fails on an error that names the file.

    pydicom checks values when they are used, and raises whatever its converters do on damaged ones.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.caught = path, warnings.catch_warnings(record=True)

    def __enter__(self) -> None:
        self.remarks: Any = self.caught.__enter__()
        warnings.simplefilter("always")
        self.logger = logging.getLogger("pydicom")
        self.level = self.logger.level
        self.logger.setLevel(logging.CRITICAL)

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        self.logger.setLevel(self.level)
        self.caught.__exit__(None, None, None)
        for text in (str(remark.message) for remark in self.remarks):
            if text.startswith(str(self.path)):
                warnings.warn(text, stacklevel=4)
        if isinstance(error, Exception) and not isinstance(error, ConfigError):
            where = f"({type(error).__name__})"
            raise ConfigError(
                f"{self.path} is truncated or no DICOM file that can be read {where}; get it again"
            ) from None


def _dataset(path: Path) -> Any:
    """The data set of a file within the limits. Raises: ConfigError, also where pydicom is not installed."""
    try:
        from pydicom.filereader import read_dataset, read_file_meta_info, read_partial
    except ImportError:
        raise ConfigError(f'{path} is a DICOM file, which needs pydicom: pip install "ecg-signals[files]"') from None
    content = read_regular(path, MAX_VENDOR_BYTES)
    _check_items(path, content)
    with _quiet(path):
        meta = read_file_meta_info(path)
        if str(meta.get("TransferSyntaxUID")) != _DEFLATED:
            watch = _Watch(path, content)
            found: Any = read_partial(watch.stream, stop_when=watch)
        else:
            unpacked = _inflated(path, content[132 + 12 + int(meta.FileMetaInformationGroupLength) :])
            _check_items(path, unpacked)
            watch = _Watch(path, unpacked)
            found = read_dataset(watch.stream, False, True, stop_when=watch)
            found.set_original_encoding(False, True, None)
        watch.check_end()
        return found


class _Watch:
    """Asked before each element at the top of a data set; stops none, but counts them and sees where they end."""

    def __init__(self, path: Path, content: bytes) -> None:
        self.path, self.content, self.stream = path, content, BytesIO(content)
        self.count, self.open = 0, False

    def __call__(self, tag: Any, vr: Any, length: int) -> bool:
        self.count += 1
        if self.count > MOST_DICOM_ELEMENTS:
            raise ConfigError(f"{self.path} holds more than {MOST_DICOM_ELEMENTS} elements (docs/limits.md)")
        self.open = length == _UNDEFINED
        at = self.stream.tell()
        if not self.open and at + length > len(self.content):
            raise ConfigError(f"{self.path} is truncated: the element at byte {at} has {length} bytes; get it again")
        return False

    def check_end(self) -> None:
        """Raises: ConfigError where the last element has no end; pydicom takes what there is of it."""
        if self.open and not self.content.rstrip(b"\0").endswith(_END.rstrip(b"\0")):
            raise ConfigError(f"{self.path} is truncated: its last sequence has no end; get it again")


def _check_items(path: Path, content: bytes) -> None:
    if (items := content.count(_ITEM)) > MOST_DICOM_ITEMS:
        raise ConfigError(f"{path} holds {items} items of sequences; {MOST_DICOM_ITEMS} are believed (docs/limits.md)")


def _inflated(path: Path, packed: bytes) -> bytes:
    most = UNPACKED_PER_PACKED * len(packed)
    found = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, most + 1)
    if len(found) > most:
        raise ConfigError(f"{path} unpacks to more than {UNPACKED_PER_PACKED} times its size (docs/limits.md)")
    return found


def _no_waveform(path: Path, data: Any) -> ConfigError:
    kind = data.get("SOPClassUID")
    if kind == _PDF:
        return ConfigError(f"{path} is a PDF in DICOM: it holds no samples. Export the waveform object of the study")
    name = shown(getattr(kind, "name", kind or "unknown"), 60)
    return ConfigError(f"{path} holds no waveform (it is: {name}). Export the waveform object of the study")


def _number(path: Path, item: Any, name: str, default: str | None = None) -> float:
    value = item.get(name, default)
    return number(path, name, default if value is None else str(value))


def _chosen(path: Path, groups: Sequence[Any]) -> list[Any]:
    """The group that is the record, and those of its rate that continue it or hold leads that it lacks."""
    real = [group for group in groups if not _is_beat(group)]
    if not real:
        labels = ", ".join(shown(group.get("MultiplexGroupLabel") or "unnamed", 20) for group in groups[:5])
        raise ConfigError(f"{path} holds no recording, only {labels}; export the rhythm of the study")
    rhythm = [group for group in real if "RHYTHM" in str(group.get("MultiplexGroupLabel") or "").upper()]
    main = max(rhythm or real, key=lambda group: _number(path, group, "NumberOfWaveformSamples"))
    rate = _number(path, main, "SamplingFrequency")
    same = [group for group in real if _number(path, group, "SamplingFrequency") == rate]
    others = [group for group in same if group is not main and (group in rhythm or _adds(main, group))]
    left = len(real) - 1 - len(others)
    if left:
        told = f"{left} other groups of waveforms are left out beside the one of {rate:g} Hz"
        warnings.warn(f"{path}: {told}", stacklevel=5)
    return sorted([main, *others], key=lambda group: (group is not main, _offset(path, group)))


def _is_beat(group: Any) -> bool:
    label = str(group.get("MultiplexGroupLabel") or "").upper()
    derived = str(group.get("WaveformOriginality") or "").upper() == "DERIVED"
    return any(word in label for word in _BEATS) or (derived and "RHYTHM" not in label)


def _adds(main: Any, group: Any) -> bool:
    """Whether a group holds a lead that the main one lacks, or the same leads at another time."""
    names = [{_lead(channel) for channel in item.ChannelDefinitionSequence} for item in (main, group)]
    times = [str(item.get("MultiplexGroupTimeOffset") or "0") for item in (main, group)]
    return bool(names[1] - names[0]) or (names[0] == names[1] and times[0] != times[1])


def _offset(path: Path, group: Any) -> float:
    """Milliseconds between the start of the acquisition and the group."""
    return _number(path, group, "MultiplexGroupTimeOffset", "0")


def _lead(channel: Any) -> str:
    """The lead of a channel by its source's code, by the meaning of the code where that is no number."""
    source = (channel.get("ChannelSourceSequence") or [{}])[0]
    code, scheme = str(source.get("CodeValue") or ""), str(source.get("CodingSchemeDesignator") or "").upper()
    meaning = lead_name(str(source.get("CodeMeaning") or channel.get("ChannelLabel") or ""))[0]
    tail = code.replace(":", "-").rpartition("-")[2]
    known = scheme.startswith(("SCPECG", "MDC")) or meaning not in LEADS
    if known and tail.isdigit() and len(tail) < 9:
        lead = scp_lead(int(tail) % _MDC)
        return lead if not lead.startswith("lead ") or not meaning else meaning
    if "_LEAD_" in code:
        return code.rpartition("_LEAD_")[2]
    return meaning or shown(code, 20)


def _pieces(path: Path, group: Any, rate: float, big: bool, stated: Stated) -> Iterator[Piece]:
    channels = list(group.ChannelDefinitionSequence)
    counts, padding = _counts(path, group, len(channels), big)
    start = round(_offset(path, group) * rate / 1000)
    for column, channel in enumerate(channels):
        lead = _lead(channel)
        units = _units(path, channel, lead, stated)
        if units is None:
            warnings.warn(f"{path}: {shown(lead, 20)} is no voltage; left out", stacklevel=5)
            continue
        scale = _number(path, channel, "ChannelSensitivity", "1")
        scale *= _number(path, channel, "ChannelSensitivityCorrectionFactor", "1")
        values = counts[:, column].astype(np.float64) * scale + _number(path, channel, "ChannelBaseline", "0")
        values[_padded(counts[:, column], padding, rate)] = np.nan
        yield Piece(lead, values, units, start)


def _units(path: Path, channel: Any, lead: str, stated: Stated) -> str | None:
    """The unit of a channel's sensitivity; None for no voltage. Raises: ConfigError where none is stated or given."""
    source = (channel.get("ChannelSensitivityUnitsSequence") or [{}])[0]
    code = str(source.get("CodeValue") or "")
    if channel.get("ChannelSensitivity") is None or not code:
        if stated.units is None:
            raise ConfigError(
                f"{path}: channel {shown(lead, 20)} states no sensitivity; give its unit with units=4.88uV"
            )
        return stated.units
    return code if to_millivolt(code) else None


def _counts(path: Path, group: Any, channels: int, big: bool) -> tuple[np.ndarray, int | None]:
    """Stored counts [samples, channels], and the padding value."""
    kind = (str(group.get("WaveformSampleInterpretation") or "SS"), int(_number(path, group, "WaveformBitsAllocated")))
    samples = int(_number(path, group, "NumberOfWaveformSamples"))
    if (
        kind not in _TYPES
        or not 0 < channels <= MOST_LEADS
        or channels != _number(path, group, "NumberOfWaveformChannels")
    ):
        found = f"{channels} channels of type {shown(kind[0], 8)}, {kind[1]} bits"
        raise ConfigError(f"{path} states {found}; such waveforms cannot be read")
    check_counts(path, channels, samples, MOST_HOLTER_SAMPLES)
    dtype = np.dtype(("<", ">")[big] + _TYPES[kind])
    data = group.get("WaveformData") or b""
    data = data if isinstance(data, bytes) else np.asarray(data, dtype).tobytes()
    needed = samples * channels * dtype.itemsize
    if samples < 1 or len(data) < needed:
        raise ConfigError(f"{path} is truncated: WaveformData has {len(data)} of {needed} bytes; get the file again")
    padding = group.get("WaveformPaddingValue")
    if isinstance(padding, bytes):
        padding = int(np.frombuffer(padding[: dtype.itemsize], dtype)[0]) if len(padding) >= dtype.itemsize else None
    return np.frombuffer(data, dtype, samples * channels).reshape(samples, channels), padding


def _padded(counts: np.ndarray, padding: int | None, rate: float) -> np.ndarray:
    """Where samples of a channel stand for nothing, bool [samples].

    Some writers state a padding value, such as 0, that is an ordinary count as well, no further from the others than
    these are from each other: then only stretches of a second. The lowest number of a type always stands for nothing.
    """
    lowest = np.iinfo(counts.dtype).min
    found = counts == lowest if lowest < 0 else np.zeros(len(counts), bool)
    if padding is None or padding == lowest:
        return found
    equal = counts == padding
    others = counts[~equal & ~found]
    if len(others) and abs(padding - np.clip(padding, others.min(), others.max())) > int(others.max()) - int(
        others.min()
    ):
        return found | equal
    edges = np.flatnonzero(np.diff(np.concatenate([[False], equal, [False]]).astype(np.int8)))
    for first, end in edges.reshape(-1, 2):
        if end - first >= _PADDED_SECONDS * rate:
            found[first:end] = True
    return found


def _about(data: Any, rate: float, channel: Any, stated: Stated) -> dict[str, Any]:
    age = str(data.get("PatientAge") or "")
    patient = {
        "name": str(data.get("PatientName") or "").replace("^", " ").strip(),
        "id": str(data.get("PatientID") or ""),
        "birth_date": str(data.get("PatientBirthDate") or ""),
    }
    measurements, statements, annotations = _annotations(data, rate)
    return {
        "metadata": facts(age[:-1] if age.upper().endswith("Y") else "", str(data.get("PatientSex") or "")),
        "start": _start(data),
        "filters": {key: str(channel.get(name)) for key, name in _FILTERS.items() if channel.get(name) is not None},
        "patient": kept(patient, stated),
        "measurements": measurements,
        "statements": statements,
        "annotations": annotations,
    }


def _start(data: Any) -> str | None:
    """When the acquisition began, else when the content was made; time zones are left out."""
    for date, time in (("AcquisitionDateTime", ""), ("ContentDate", "ContentTime"), ("StudyDate", "StudyTime")):
        text = f"{data.get(date) or ''}{(data.get(time) or '') if time else ''}"
        when = iso_time(text.partition("+")[0].partition("-")[0], _TIMES)
        if when:
            return when
    return None


def _annotations(data: Any, rate: float) -> tuple[dict[str, str], list[str], list[tuple[float, float, str]]]:
    """What the machine measured and said, and its marks at single times; a damaged entry costs only itself."""
    measurements: dict[str, str] = {}
    statements: list[str] = []
    marks: list[tuple[float, float, str]] = []
    for item in (data.get("WaveformAnnotationSequence") or ())[:MOST_ANNOTATIONS]:
        concept = (item.get("ConceptNameCodeSequence") or [{}])[0]
        name = shown(concept.get("CodeMeaning") or concept.get("CodeValue") or "")
        position = item.get("ReferencedSamplePositions")
        if item.get("NumericValue") is not None:
            unit = (item.get("MeasurementUnitsCodeSequence") or [{}])[0].get("CodeValue") or ""
            measurements.setdefault(name, f"{item.NumericValue} {unit}".strip())
        elif item.get("UnformattedTextValue"):
            statements.append(str(item.UnformattedTextValue).strip())
        elif position is not None and name:
            sample = position[0] if isinstance(position, Sequence) else position
            marks.append((float(sample) / rate, 0.0, name))
    return measurements, statements, marks
