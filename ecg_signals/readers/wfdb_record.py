"""WFDB records: any format, several signal files, several segments.

Formats 16 and 212, which nearly all records have, are decoded here (the wfdb package takes 25 times as long,
mostly for the header); the others through the wfdb package. Both give the same numbers.
"""

import math
import warnings
from itertools import groupby
from pathlib import Path

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.readers.units import to_millivolt
from ecg_signals.readers.wfdb_header import Header, SignalLine, read_header
from ecg_signals.signal.leads import lead_name
from ecg_signals.signal.record import Record

# format: (bytes per sample, the count that stands for a missing value); compressed formats have no fixed size
_FORMATS: dict[int, tuple[float, int]] = {
    8: (1, -(2**31)), 16: (2, -(2**15)), 24: (3, -(2**23)), 32: (4, -(2**31)), 61: (2, -(2**15)), 80: (1, -128),
    160: (2, -(2**15)), 212: (1.5, -2048), 310: (4 / 3, -512), 311: (4 / 3, -512),
    508: (0, -128), 516: (0, -(2**15)), 524: (0, -(2**23)),
}  # fmt: skip


def read_wfdb(header_path: Path) -> Record:
    """The record whose header is `header_path`, in mV.

    A signal that is no voltage is left out with a warning that names it; a checksum that does not fit the
    samples gives a warning and lists the leads in `metadata["wrong_checksum"]`.
    """
    header = read_header(header_path)
    signal, names, wrong = _read_segments(header) if header.segments else _read_samples(header)
    metadata: dict[str, object] = {}
    for line in header.comments:
        key, colon, value = line.partition(":")
        if colon and key.strip():
            metadata.setdefault(key.strip().lower(), value.strip())
    if header.when:
        metadata["recorded"] = header.when
    if wrong:
        metadata["wrong_checksum"] = wrong
        text = "the samples do not give the checksum that the header states for"
        warnings.warn(f"{header_path}: {text} {', '.join(wrong)}; compare the file with its source", stacklevel=2)
    return Record(signal, _plain_rate(header.rate), names, header.comments, metadata)


def _plain_rate(rate: float) -> float:
    return int(rate) if rate == int(rate) else rate


def _read_samples(header: Header) -> tuple[np.ndarray, list[str], list[str]]:
    """One segment: float32 mV [leads, samples], lead names, and the leads whose checksum is wrong."""
    if not header.signals:
        raise ConfigError(f"{header.path} describes no signal; give the header of a record with signals")
    for line in header.signals:
        if line.format not in _FORMATS:
            raise ConfigError(
                f"{header.path}: signal {line.name} has the unknown WFDB format {line.format}; known are "
                f"{', '.join(map(str, _FORMATS))}. Convert the record to format 16"
            )
    factors = [to_millivolt(line.units, f"{line.name} of {header.path}") for line in header.signals]
    kept = [index for index, factor in enumerate(factors) if factor is not None]
    _report_other_signals(header, kept)
    samples = _check_files(header)
    plain = all(line.format in (16, 212) and line.per_frame == 1 and not line.skew for line in header.signals)
    counts = _decode(header, samples) if plain else _decode_with_wfdb(header)
    wrong = _wrong_checksums(header.signals, counts)
    signal = np.empty((len(kept), samples), dtype=np.float32)
    for row, index in enumerate(kept):
        signal[row] = _millivolt(counts[index], header.signals[index], factors[index] or 1.0)
    return signal, [lead_name(header.signals[index].name) for index in kept], wrong


def _report_other_signals(header: Header, kept: list[int]) -> None:
    other = [f"{line.name} ({line.units})" for index, line in enumerate(header.signals) if index not in kept]
    if not kept:
        raise ConfigError(f"{header.path} holds no voltage, only {', '.join(other)}; give a record with ECG leads")
    if other:
        warnings.warn(f"{header.path}: {', '.join(other)} left out, because it is no voltage", stacklevel=3)


def _millivolt(counts: np.ndarray, line: SignalLine, factor: float) -> np.ndarray:
    """Counts of one signal [samples * per_frame] -> float64 mV [samples].

    Several samples of a frame become their average, cut to a whole count as the wfdb package does.
    """
    missing = counts == _FORMATS[line.format][1]
    values = counts.astype(np.float64)
    if line.per_frame > 1:
        values = np.trunc(values.reshape(-1, line.per_frame).mean(axis=1))
        missing = missing.reshape(-1, line.per_frame).any(axis=1)
    values -= line.baseline
    values /= line.gain
    if factor != 1:
        values *= factor
    if missing.any():
        values[missing] = np.nan
    return values


def _wrong_checksums(lines: list[SignalLine], counts: list[np.ndarray]) -> list[str]:
    """Signals whose 16-bit sum differs from the header's; a header that says 0 everywhere states none."""
    if not any(line.checksum for line in lines):
        return []
    wrong = []
    for line, values in zip(lines, counts):
        if line.checksum is not None and (int(values.sum(dtype=np.int64)) - line.checksum) % 65536:
            wrong.append(lead_name(line.name))
    return wrong


def _files(header: Header) -> list[tuple[Path, list[SignalLine]]]:
    """Signal files in header order with their signals."""
    groups = groupby(header.signals, key=lambda line: line.file)
    return [(header.path.parent / name, list(lines)) for name, lines in groups]


def _check_files(header: Header) -> int:
    """Samples per signal. Raises: ConfigError for a signal file that is absent or too short."""
    samples = header.samples
    for path, lines in _files(header):
        if not path.is_file():
            raise ConfigError(f"{path} does not exist, but {header.path.name} says that it holds samples; put it there")
        size, width = path.stat().st_size - lines[0].offset, _FORMATS[lines[0].format][0]
        per_frame = sum(line.per_frame for line in lines)
        if samples is None:
            samples = int(size / (width * per_frame)) if width else _compressed_length(header)
        needed = math.ceil(samples * per_frame * width)
        if size < needed:
            raise ConfigError(
                f"{path} is truncated: {size + lines[0].offset} bytes found, {needed + lines[0].offset} expected for "
                f"{samples} samples of {len(lines)} signals ({header.path.name}); get the file again"
            )
    if not samples:
        raise ConfigError(f"{header.path} describes a record without samples; get its files again")
    return samples


def _compressed_length(header: Header) -> int:
    import wfdb

    return int(wfdb.rdrecord(str(header.path.with_suffix("")), physical=False).sig_len)


def _decode(header: Header, samples: int) -> list[np.ndarray]:
    """Counts of every signal, for formats 16 and 212 with one sample per frame."""
    counts: list[np.ndarray] = []
    for path, lines in _files(header):
        total = samples * len(lines)
        if lines[0].format == 16:
            flat = np.fromfile(path, dtype="<i2", count=total, offset=lines[0].offset)
        else:
            flat = _unpack_212(np.fromfile(path, np.uint8, math.ceil(total * 1.5), offset=lines[0].offset), total)
        counts.extend(np.ascontiguousarray(flat.reshape(samples, len(lines)).T))
    return counts


def _unpack_212(packed: np.ndarray, total: int) -> np.ndarray:
    """Two 12-bit two's-complement counts lie in three bytes: low byte, both high nibbles, low byte."""
    if len(packed) % 3:
        packed = np.append(packed, np.zeros(3 - len(packed) % 3, np.uint8))
    triples = packed.reshape(-1, 3).astype(np.int16)
    counts = np.empty((len(triples), 2), np.int16)
    counts[:, 0] = (triples[:, 0] | ((triples[:, 1] & 0x0F) << 8)) << 4  # the sign bit now is the highest one
    counts[:, 1] = (triples[:, 2] | ((triples[:, 1] & 0xF0) << 4)) << 4
    return (counts >> 4).reshape(-1)[:total]


def _decode_with_wfdb(header: Header) -> list[np.ndarray]:
    """Counts of every signal, any format; from physical values, since wfdb cannot return the counts of format 61."""
    import wfdb

    try:
        record = wfdb.rdrecord(str(header.path.with_suffix("")), smooth_frames=False)
    except (ValueError, IndexError, TypeError, OSError, RuntimeError) as error:
        raise ConfigError(f"{header.path} cannot be read ({error}); get the record's files again") from error
    counts = []
    for index, line in enumerate(header.signals):
        values = np.rint(record.e_p_signal[index] * record.adc_gain[index] + record.baseline[index])
        missing = _FORMATS[line.format][1]
        counts.append(np.where(np.isnan(values), missing, values).astype(np.int64))
    return counts


def _read_segments(header: Header) -> tuple[np.ndarray, list[str], list[str]]:
    """A record in several segments: NaN where a segment is a gap ("~") or lacks a lead.

    A first segment of length 0 is a layout: its names are the record's leads, and the others are matched by
    name; without one all segments have the leads of the first, in the same order.
    """
    names: list[str] = []
    wrong: list[str] = []
    parts: list[np.ndarray] = []
    layout = header.segments[0][1] == 0
    for name, samples in header.segments:
        if name == "~":
            parts.append(np.full((len(names), samples), np.nan, dtype=np.float32))
            continue
        path = header.path.parent / f"{name}.hea"
        if not path.is_file():
            raise ConfigError(f"{path} does not exist, but {header.path} lists it as a segment; put it beside")
        part = read_header(path)
        if samples == 0 and layout and not parts and not names:
            names = [lead_name(line.name) for line in part.signals if to_millivolt(line.units, line.name) is not None]
            continue
        signal, have, bad = _read_samples(part)
        names = names or have
        if signal.shape[1] != samples or (not layout and len(have) != len(names)):
            found = f"{len(have)} signals of {signal.shape[1]} samples"
            raise ConfigError(f"{path} holds {found}; {header.path} expects {len(names)} of {samples}")
        parts.append(_rows(signal, have, names) if layout else signal)
        wrong += [lead for lead in bad if lead not in wrong]
    if not parts or not names:
        raise ConfigError(f"{header.path} lists no segment with samples; get its files again")
    parts = [part if len(part) else np.full((len(names), part.shape[1]), np.nan, np.float32) for part in parts]
    return np.concatenate(parts, axis=1), names, wrong


def _rows(signal: np.ndarray, have: list[str], names: list[str]) -> np.ndarray:
    result = np.full((len(names), signal.shape[1]), np.nan, dtype=np.float32)
    for row, name in enumerate(names):
        if name in have:
            result[row] = signal[have.index(name)]
    return result
