"""Writers of small files in recorders' formats, for tests and tools/fuzz.py: one signal [leads, samples] in mV each."""

import base64
import binascii
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
STEP = 5.0  # uV of one count
SCP_CODES = {"I": 1, "II": 2, "III": 61, "aVR": 62, "aVL": 63, "aVF": 64, "V7": 9, "V3R": 11, "V4R": 12,
             **{f"V{number}": 2 + number for number in range(1, 7)}}  # fmt: skip
PERSON = "ZZDEMOPTONLY"  # stands wherever a format has room for a name or an id


def counts(signal: np.ndarray) -> np.ndarray:
    """int64 [leads, samples], steps of 5 uV."""
    return np.rint(np.asarray(signal, np.float64) * 1000 / STEP).astype(np.int64)


# SCP-ECG ------------------------------------------------------------------------------------------------------------


def huffman(values: Sequence[int]) -> bytes:
    """The default table's codes."""
    bits: list[str] = []
    for value in map(int, values):
        size = abs(value)
        if size == 0:
            bits.append("0")
        elif size <= 8:
            bits.append("1" * size + "0" + ("1" if value < 0 else "0"))
        elif -128 <= value < 128:
            bits.append("1111111110" + format(value & 0xFF, "08b"))
        else:
            bits.append("1111111111" + format(value & 0xFFFF, "016b"))
    text = "".join(bits)
    text += "0" * (-len(text) % 16)
    return int("1" + text, 2).to_bytes(len(text) // 8 + 1, "big")[1:]


Code = tuple[str, int, int, bool]  # a prefix; bits behind it; the value that they are added to; a switch to that table?
OWN_TABLES: tuple[tuple[Code, ...], ...] = (
    (("0", 0, 0, False), ("10", 0, 1, False), ("110", 0, -1, False), ("1110", 4, 10, False), ("11110", 0, 2, True)),
    (("10", 0, 1, True), ("0", 16, 0, False)),
)  # tables are counted from 1


def own_huffman(values: Sequence[int]) -> bytes:
    """OWN_TABLES's codes; what the first table has no code for stands between two switches."""
    single = {value: prefix for prefix, more, value, switch in OWN_TABLES[0] if not more and not switch}
    bits = ""
    for value in map(int, values):
        if value in single:
            bits += single[value]
        elif 2 <= value < 18:
            bits += "1110" + format((value - 10) & 0xF, "04b")
        else:
            bits += "11110" + "0" + format(value & 0xFFFF, "016b") + "10"
    bits += "0" * (-len(bits) % 16)
    return int("1" + bits, 2).to_bytes(len(bits) // 8 + 1, "big")[1:]


def own_section(tables: Sequence[Sequence[Code]] = OWN_TABLES) -> bytes:
    """Section 2: the bits of a prefix are stored from the lowest one on."""
    content = struct.pack("<H", len(tables))
    for table in tables:
        content += struct.pack("<H", len(table))
        for prefix, more, value, switch in table:
            sizes = (len(prefix), len(prefix) + more, not switch)
            content += struct.pack("<BBBhI", *sizes, value, int(prefix[::-1], 2))
    return content


def differences(row: np.ndarray, encoding: int) -> np.ndarray:
    """As stored: after `encoding` counts that stand as they are."""
    return np.concatenate([row[:encoding], np.diff(row, encoding)])


def _section(number: int, content: bytes) -> bytes:
    content += b"\0" * (len(content) % 2)
    body = struct.pack("<HI2B6x", number, 16 + len(content), 20, 20) + content
    return struct.pack("<H", binascii.crc_hqx(body, 0xFFFF)) + body


def scp_bytes(
    signal: np.ndarray, leads: Sequence[str] = LEADS, *, packed: bool = True, encoding: int = 2, interval: int = 2000,
    stated: int | None = None, flags: int = 4, bimodal: int = 0, section: bytes = b"", pack: Any = huffman,
    behind: bytes = b"",
) -> bytes:  # fmt: skip
    """`section`: number 2 in place of the default table's, `pack` what codes by it; `behind` stands after the file."""
    rows = [differences(row, encoding) for row in counts(signal)]
    parts = [pack(row) if packed else row.astype("<i2").tobytes() for row in rows]
    last = stated or np.shape(signal)[1]
    name = PERSON.encode() + b"\0"
    tags = b"".join(struct.pack("<BH", tag, len(text)) + text for tag, text in (
        (0, name), (2, name), (4, struct.pack("<HB", 50, 1)), (5, struct.pack("<HBB", 1953, 5, 8)), (8, b"\x02"),
        (25, struct.pack("<HBB", 2020, 2, 3)), (26, bytes([4, 5, 6])), (27, struct.pack("<H", 5)),
        (28, struct.pack("<H", 150)), (255, b""),
    ))  # fmt: skip
    order = b"".join(struct.pack("<IIB", 1, last, SCP_CODES[lead]) for lead in leads)
    data = struct.pack("<HHBB", round(STEP * 1000), interval, encoding, bimodal)
    data += struct.pack(f"<{len(parts)}H", *(len(part) % 65536 for part in parts)) + b"".join(parts)
    text = b"Sinus rhythm\0"
    statement = struct.pack("<BHBBBBBBBH", 1, 2020, 2, 3, 4, 5, 6, 1, 1, len(text)) + text
    tables = section or (struct.pack("<H", 19999) if packed else b"")
    sections = {1: tags, 2: tables, 3: bytes([len(leads), flags]) + order,
                6: data, 8: statement}  # fmt: skip
    bodies = {number: _section(number, content) for number, content in sections.items() if content}
    head = 16 + 10 * 12
    pointers, at = struct.pack("<HII", 0, head, 7), 6 + head
    for number in range(1, 12):
        body = bodies.get(number, b"")
        pointers += struct.pack("<HII", number, len(body), at + 1 if body else 0)
        at += len(body)
    zero = struct.pack("<HIBB6s", 0, head, 20, 20, b"SCPECG") + pointers
    zero = struct.pack("<H", binascii.crc_hqx(zero, 0xFFFF)) + zero
    whole = struct.pack("<I", at) + zero + b"".join(bodies.values())
    return struct.pack("<H", binascii.crc_hqx(whole, 0xFFFF)) + whole + behind


# XML ----------------------------------------------------------------------------------------------------------------


def aecg_sets(sets: Sequence[tuple[str, Sequence[str], np.ndarray]], increment: str = "0.002", unit: str = "s") -> str:
    """sequenceSets of (head, leads, signal), in steps of 5 uV."""
    text = ""
    for head, leads, signal in sets:
        step = f'<increment value="{increment}" unit="{unit}"/>'
        parts = [f'<code code="TIME_ABSOLUTE"/><value><head value="{head}"/>{step}</value>']
        parts += [
            f'<code code="MDC_ECG_LEAD_{lead.upper()}"/><value><origin value="0" unit="uV"/><scale value="0.005" '
            f'unit="mV"/><digits>{" ".join(map(str, row))}</digits></value>' for lead, row in zip(leads, counts(signal))
        ]  # fmt: skip
        body = "".join(f"<component><sequence>{part}</sequence></component>" for part in parts)
        text += f"<component><sequenceSet>{body}</sequenceSet></component>"
    return text


def aecg(signal: np.ndarray, leads: Sequence[str] = LEADS, sets: str | None = None) -> str:
    median = aecg_sets([("0", leads, np.asarray(signal)[:, :50] * 3)])
    return (
        '<?xml version="1.0"?><AnnotatedECG xmlns="urn:hl7-org:v3"><effectiveTime><low value="20200203040506"/>'
        f'</effectiveTime><componentOf><trialSubject><id extension="{PERSON}"/><subjectDemographicPerson><name>{PERSON}'
        '</name><administrativeGenderCode code="F"/><birthTime value="19530508"/></subjectDemographicPerson>'
        '</trialSubject></componentOf><component><series><code code="REPRESENTATIVE_BEAT"/></series></component>'
        f'<component><series><code code="RHYTHM"/>{sets or aecg_sets([("20200203040506.000", leads, signal)])}'
        f'<derivation><derivedSeries><code code="REPRESENTATIVE_BEAT"/>{median}</derivedSeries></derivation><subjectOf>'
        '<annotationSet><component><annotation><code code="MDC_ECG_INTERPRETATION_STATEMENT"/><value>Sinus rhythm'
        "</value></annotation></component></annotationSet></subjectOf></series></component></AnnotatedECG>"
    )


def _encoded(row: np.ndarray) -> str:
    return base64.b64encode(row.astype("<i2").tobytes()).decode()


def muse(
    signal: np.ndarray, leads: Sequence[str] = LEADS, *, baseline: int = 0, units: str = "MICROVOLTS", crc: int = 0,
    off: Sequence[str] = (), base: int = 500, exponent: int = 0,
) -> str:  # fmt: skip
    """`crc` is added to the right checksums."""
    step = STEP if units == "MICROVOLTS" else STEP / 1000
    rows = {lead: row + baseline for lead, row in zip(leads, counts(signal))}
    data = "".join(
        f"<LeadData><LeadSampleCountTotal>{len(row)}</LeadSampleCountTotal><LeadAmplitudeUnitsPerBit>{step}"
        f"</LeadAmplitudeUnitsPerBit><LeadAmplitudeUnits>{units}</LeadAmplitudeUnits><LeadID>{lead}</LeadID>"
        f"<FirstSampleBaseline>{baseline}</FirstSampleBaseline><LeadSampleSize>2</LeadSampleSize>"
        f"<LeadOff>{'TRUE' if lead in off else 'FALSE'}</LeadOff>"
        f"<LeadDataCRC32>{(zlib.crc32(row.astype('<i2').tobytes()) + crc) % 2**32}</LeadDataCRC32>"
        f"<WaveFormData>{_encoded(row)}\n</WaveFormData></LeadData>" for lead, row in rows.items()
    )  # fmt: skip
    rate = f"<SampleBase>{base}</SampleBase><SampleExponent>{exponent}</SampleExponent>"
    return (
        '<?xml version="1.0" encoding="ISO-8859-1"?><!DOCTYPE RestingECG SYSTEM "restecg.dtd"><RestingECG>'
        f"<PatientDemographics><PatientID>{PERSON}</PatientID><PatientAge>50</PatientAge><AgeUnits>YEARS</AgeUnits>"
        f"<Gender>FEMALE</Gender><PatientLastName>{PERSON}</PatientLastName></PatientDemographics>"
        "<TestDemographics><AcquisitionTime>04:05:06</AcquisitionTime><AcquisitionDate>02-03-2020</AcquisitionDate>"
        "</TestDemographics><Diagnosis><DiagnosisStatement><StmtFlag>ENDSLINE</StmtFlag><StmtText>Sinus rhythm"
        "</StmtText></DiagnosisStatement></Diagnosis><Waveform><WaveformType>Median</WaveformType>"
        f"{rate}{data[: data.find('</LeadData>')]}</LeadData></Waveform><Waveform><WaveformType>Rhythm</WaveformType>"
        f"{rate}{data}</Waveform></RestingECG>"
    )


def cardiosoft(signal: np.ndarray, leads: Sequence[str] = LEADS) -> str:
    rows = "".join(f'<WaveformData lead="{lead}">{",".join(map(str, row))}</WaveformData>'
                   for lead, row in zip(leads, counts(signal)))  # fmt: skip
    return (
        '<?xml version="1.0"?><CardiologyXML><ObservationDateTime><Hour>4</Hour><Minute>5</Minute><Second>6</Second>'
        f"<Day>3</Day><Month>2</Month><Year>2020</Year></ObservationDateTime><PatientInfo><PID>{PERSON}</PID><Name>"
        f"<FamilyName>{PERSON}</FamilyName></Name><Age>50</Age><Gender>FEMALE</Gender></PatientInfo><Interpretation>"
        "<Diagnosis><DiagnosisText>Sinus rhythm</DiagnosisText></Diagnosis></Interpretation><MedianSamples>"
        f'<WaveformData lead="I">9,9</WaveformData></MedianSamples><StripData><NumberOfLeads>{len(leads)}'
        '</NumberOfLeads><SampleRate units="Hz">500</SampleRate><ChannelSampleCountTotal>'
        f'{np.shape(signal)[1]}</ChannelSampleCountTotal><Resolution units="uVperLsb">{STEP}</Resolution>'
        f"{rows}</StripData></CardiologyXML>"
    )


def lzw(data: bytes) -> bytes:
    """Ten-bit codes, highest bit first; 1023 ends them."""
    table = {bytes([value]): value for value in range(256)}
    codes, current = [], b""
    for value in data:
        longer = current + bytes([value])
        if longer in table:
            current = longer
            continue
        codes.append(table[current])
        if len(table) < 1023:
            table[longer] = len(table)
        current = bytes([value])
    bits = "".join(format(code, "010b") for code in [*codes, table[current], 1023])
    bits += "0" * (-len(bits) % 8)
    return int("1" + bits, 2).to_bytes(len(bits) // 8 + 1, "big")[1:]


def xli(rows: np.ndarray) -> bytes:
    """Chunks of all leads [12, samples] in the standard order; III, aVR, aVL and aVF become residuals."""
    first, second, third = rows[0], rows[1], rows[2]
    stored = rows.copy()
    stored[2] = second - first - third
    stored[3] = np.floor_divide(-(first + second), 2) - rows[3]
    stored[4] = np.floor_divide(first - third, 2) - rows[4]
    stored[5] = np.floor_divide(second + third, 2) - rows[5]
    parts = []
    for row in stored:
        bends = 2 * row[1:-1] - row[:-2] - row[2:]
        packed = np.concatenate([row[:2], bends[1:] + 64, [0]]).astype(np.int16).view(np.uint16)
        data = lzw((packed >> 8).astype(np.uint8).tobytes() + (packed & 0xFF).astype(np.uint8).tobytes())
        parts.append(struct.pack("<ihh", len(data), 1, int(bends[0])) + data)
    return b"".join(parts)


def philips(signal: np.ndarray, leads: Sequence[str] = LEADS, version: str = "1.04", data: bytes | None = None) -> str:
    """Plain samples, or XLI chunks given as `data`."""
    samples, old = np.shape(signal)[1], version == "1.03"
    content = base64.b64encode(counts(signal).astype("<i2").tobytes() if data is None else data).decode()
    how = 'compressflag="True" compressmethod="XLI"' if old else 'compression="XLI"'
    how = how if data is not None else 'compressflag="False"' if old else ""
    labels = "" if old else f'leadlabels="{" ".join(leads)}"'
    name = "signalresolution" if old else "resolution"
    return (
        f'<?xml version="1.0"?><restingecgdata xmlns="http://www3.medical.philips.com"><documentversion>{version}'
        '</documentversion><dataacquisition date="2020-02-03" time="04:05:06"><signalcharacteristics><samplingrate>500'
        f"</samplingrate><{name}>{STEP:g}</{name}><numberchannelsvalid>{len(leads)}</numberchannelsvalid>"
        f"</signalcharacteristics></dataacquisition><patient><generalpatientdata><patientid>{PERSON}</patientid><name>"
        f"<lastname>{PERSON}</lastname></name><age><years>50</years></age><sex>Female</sex></generalpatientdata>"
        "</patient><interpretations><interpretation><statement><leftstatement>Sinus rhythm</leftstatement></statement>"
        "</interpretation></interpretations>"
        f'<waveforms><parsedwaveforms {how} {labels} durationperchannel="{samples * 2}">{content}</parsedwaveforms>'
        "</waveforms></restingecgdata>"
    )


# ISHNE, EDF, DICOM ----------------------------------------------------------------------------------------------------


def ishne_bytes(signal: np.ndarray, codes: Sequence[int] = range(5, 17), stated: int | None = None) -> bytes:
    rows = counts(signal)
    leads = len(rows)
    head = bytearray(512)
    struct.pack_into("<iiii", head, 0, 0, rows.shape[1] if stated is None else stated, 522, 522)
    head[18 : 18 + len(PERSON)] = PERSON.encode()
    head[98 : 98 + len(PERSON)] = PERSON.encode()
    struct.pack_into("<2h6h", head, 118, 2, 0, 8, 5, 1953, 3, 2, 2020)
    struct.pack_into("<3hh", head, 140, 4, 5, 6, leads)
    struct.pack_into(f"<{leads}h", head, 148, *codes[:leads])
    struct.pack_into(f"<{leads}h", head, 196, *[round(STEP * 1000)] * leads)
    struct.pack_into("<h", head, 262, 500)
    crc = struct.pack("<H", binascii.crc_hqx(bytes(head), 0xFFFF))
    return b"ISHNE1.0" + crc + bytes(head) + np.ascontiguousarray(rows.T.astype("<i2")).tobytes()


def edf_bytes(
    channels: Sequence[tuple[str, str, np.ndarray]], *, per_record: Sequence[int], seconds: float, kind: str = "EDF+C",
    starts: Sequence[float] | None = None, notes: dict[int, str] | None = None, wide: bool = False,
    digital: tuple[int, int] | None = None,
) -> bytes:  # fmt: skip
    """EDF+ or BDF of (label, units, values in these units), `per_record` samples of each in a data record.

    Counts are steps of 5 (thousandths, for mV). `starts` are the seconds of the data records, `notes` a text for some.
    """
    width, low, high = (3, -(2**23), 2**23 - 1) if wide else (2, -32768, 32767)
    low, high = digital or (low, high)
    records = len(channels[0][2]) // per_record[0]
    starts = [number * seconds for number in range(records)] if starts is None else starts
    room = 60
    labels = [label for label, _, _ in channels] + ["BDF Annotations" if wide else "EDF Annotations"]
    units = [unit for _, unit, _ in channels] + [""]
    steps = [0.005 if unit == "mV" else 5.0 for unit in units]
    samples = [*per_record, room // width]
    columns = [
        labels, [""] * len(labels), units, [f"{low * step:.8g}"[:8] for step in steps],
        [f"{high * step:.8g}"[:8] for step in steps], [str(low)] * len(labels), [str(high)] * len(labels),
        ["HP:0.05Hz LP:150Hz N:50Hz"] * len(labels), list(map(str, samples)), [""] * len(labels),
    ]  # fmt: skip
    sizes = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)
    fields = "".join(text.ljust(size) for size, column in zip(sizes, columns) for text in column)
    head = f"{f'{PERSON} F 08-MAY-1953 {PERSON}':<80}{'Startdate 03-FEB-2020 X X X':<80}"
    head += f"03.02.2004.05.06{256 * (len(labels) + 1):<8}{kind:<44}{records:<8}{seconds:<8g}{len(labels):<4}"
    body = bytearray()
    for number in range(records):
        for (_, _, values), step, size in zip(channels, steps, per_record):
            part = np.rint(np.asarray(values[number * size : (number + 1) * size]) / step).astype("<i4")
            body += part.view(np.uint8).reshape(-1, 4)[:, :width].tobytes()
        note = f"+{starts[number]:g}\x14{notes[number]}\x14\0" if notes and number in notes else ""
        body += f"+{starts[number]:g}\x14\x14\0{note}".encode().ljust(room // width * width, b"\0")
    return (b"\xffBIOSEMI" if wide else b"0       ") + head.encode() + fields.encode() + bytes(body)


def twelve_edf(signal: np.ndarray, **options: Any) -> bytes:
    channels = [(f"ECG {lead}", "mV", row) for lead, row in zip(LEADS, np.asarray(signal))]
    return edf_bytes(channels, per_record=[250] * 12, seconds=0.5, **options)


def dicom(
    path: Path, groups: Sequence[dict[str, Any]], *, implicit: bool = False, deflated: bool = False, kind: str = "9.1.1"
) -> None:
    """A waveform object. A group: `signal` [leads, samples] in mV, `leads`, and perhaps `label`, `offset` (ms),
    `original`, `padding`, `scheme`, `dtype`, `rate`, `baseline` (uV).
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = f"1.2.840.10008.5.1.4.1.1.{kind}", "1.2.3"
    data.PatientName = data.PatientID = PERSON
    data.PatientSex, data.PatientAge, data.AcquisitionDateTime = "F", "050Y", "20200203040506"
    data.WaveformSequence = [_dicom_group(**group) for group in groups]
    note = Dataset()
    note.UnformattedTextValue = "Sinus rhythm"
    data.WaveformAnnotationSequence = [note]
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian if deflated else syntax
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    data.save_as(path, enforce_file_format=True)


def _dicom_group(
    signal: np.ndarray, leads: Sequence[str], label: str = "RHYTHM", offset: float = 0, original: bool = True,
    padding: int | None = None, scheme: str = "SCPECG", dtype: str = "<i2", rate: float = 500, baseline: float = 0,
) -> Any:  # fmt: skip
    from pydicom.dataset import Dataset

    group = Dataset()
    rows = counts(np.asarray(signal) - baseline / 1000)
    group.MultiplexGroupTimeOffset, group.WaveformOriginality = str(offset), "ORIGINAL" if original else "DERIVED"
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = len(leads), rows.shape[1]
    group.SamplingFrequency, group.MultiplexGroupLabel = str(rate), label
    width = np.dtype(dtype).itemsize
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 8 * width, {2: "SS", 4: "SL"}[width]
    group.ChannelDefinitionSequence = [_dicom_channel(lead, scheme, baseline) for lead in leads]
    group.WaveformData = np.ascontiguousarray(rows.T.astype(dtype)).tobytes()
    if padding is not None:
        group.WaveformPaddingValue = np.array(padding, dtype).tobytes()
    return group


def _dicom_channel(lead: str, scheme: str, baseline: float) -> Any:
    from pydicom.dataset import Dataset

    channel, source, units = Dataset(), Dataset(), Dataset()
    code = SCP_CODES[lead]
    source.CodeValue, source.CodingSchemeDesignator = f"5.6.3-9-{code}" if scheme == "SCPECG" else f"2:{code}", scheme
    source.CodeMeaning = "some words"
    units.CodeValue, units.CodingSchemeDesignator, units.CodeMeaning = "mV", "UCUM", "millivolt"
    channel.ChannelSourceSequence, channel.ChannelSensitivityUnitsSequence = [source], [units]
    channel.ChannelSensitivity, channel.ChannelSensitivityCorrectionFactor = "1", "0.005"
    channel.ChannelBaseline, channel.WaveformBitsStored = str(baseline / 1000), 16
    return channel


# All of them --------------------------------------------------------------------------------------------------------


def _twelve_dicom(path: Path, signal: np.ndarray) -> None:
    dicom(path, [{"signal": signal, "leads": LEADS}, {"signal": signal[:, :50], "leads": LEADS, "label": "MEDIAN BEAT",
                                                      "original": False}])  # fmt: skip


WRITERS = {
    "scp": (".scp", lambda path, signal: path.write_bytes(scp_bytes(signal))),
    "aecg": (".xml", lambda path, signal: path.write_text(aecg(signal))),
    "muse": (".xml", lambda path, signal: path.write_text(muse(signal, units="MILLIVOLTS"))),
    "cardiosoft": (".xml", lambda path, signal: path.write_text(cardiosoft(signal))),
    "philips": (".xml", lambda path, signal: path.write_text(philips(signal), encoding="utf-16")),
    "ishne": (".ecg", lambda path, signal: path.write_bytes(ishne_bytes(signal))),
    "edf": (".edf", lambda path, signal: path.write_bytes(twelve_edf(signal))),
    "dicom": (".dcm", _twelve_dicom),
}  # format: suffix and writer of twelve leads [12, samples] in mV
