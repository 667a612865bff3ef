"""WFDB header files (.hea): one record line, one line per signal or per segment, and comments."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from ecg_signals.config import ConfigError

_RECORD = re.compile(
    r"(?P<name>[^\s/]+)(?:/(?P<segments>\d+))?[ \t]+(?P<signals>\d+)"
    r"(?:[ \t]+(?P<rate>\d*\.?\d+(?:[eE][+-]?\d+)?|\d+\.)(?:/\S*)?"
    r"(?:[ \t]+(?P<samples>\d+)(?:[ \t]+(?P<when>.*))?)?)?[ \t]*$"
)
_SIGNAL = re.compile(
    r"(?P<file>\S+)[ \t]+(?P<format>\d+)(?:x(?P<per_frame>\d+))?(?::(?P<skew>\d+))?(?:\+(?P<offset>\d+))?"
    r"(?:[ \t]+(?P<gain>-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?:\((?P<baseline>-?\d+)\))?(?:/(?P<units>\S+))?"
    r"(?:[ \t]+(?P<bits>-?\d+)(?:[ \t]+(?P<zero>-?\d+)(?:[ \t]+(?P<first>-?\d+)(?:[ \t]+(?P<checksum>-?\d+)"
    r"(?:[ \t]+(?P<block>-?\d+))?)?)?)?)?)?(?:[ \t]+(?P<description>.*))?$"
)
_SEGMENT = re.compile(r"(?P<name>\S+)[ \t]+(?P<samples>\d+)[ \t]*$")

DEFAULT_RATE = 250.0  # Hz; what WFDB takes where the header says none
DEFAULT_GAIN = 200.0  # counts per unit; the same for a gain of 0 or none


@dataclass
class SignalLine:
    """One signal: where its samples lie and how counts become physical values, (count - baseline) / gain."""

    file: str
    format: int
    per_frame: int
    skew: int
    offset: int
    gain: float
    baseline: int
    units: str
    checksum: int | None
    name: str


@dataclass
class Header:
    """A parsed .hea file; `segments` holds (record name, samples) pairs and is empty for an ordinary record."""

    path: Path
    rate: float
    samples: int | None
    when: str
    signals: list[SignalLine] = field(default_factory=list)
    segments: list[tuple[str, int]] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)


def read_header(path: Path) -> Header:
    """Raises: ConfigError naming the line that is not WFDB."""
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")  # every byte is a character; a micro sign is the usual case
    lines, comments = [], []
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("#"):
            comments.append(line.lstrip("# \t"))
        elif line:
            lines.append(line)
    if not lines:
        raise ConfigError(f"{path} is empty; a WFDB header starts with a line 'name signals rate samples'")
    match = _RECORD.match(lines[0])
    if match is None:
        raise _unreadable(path, lines[0], "name signals rate samples")
    samples = int(match["samples"]) if match["samples"] else None
    rate = float(match["rate"] or DEFAULT_RATE)
    header = Header(path, rate or DEFAULT_RATE, samples or None, match["when"] or "", comments=comments)
    count, kind = int(match["segments"] or match["signals"]), "segment" if match["segments"] else "signal"
    if len(lines) - 1 != count:
        raise ConfigError(f"{path} announces {count} {kind}s but has {len(lines) - 1} {kind} lines; get the file again")
    for line in lines[1:]:
        if match["segments"]:
            header.segments.append(_segment(path, line))
        else:
            header.signals.append(_signal(path, line, len(header.signals)))
    return header


def _signal(path: Path, line: str, index: int) -> SignalLine:
    match = _SIGNAL.match(line)
    if match is None:
        raise _unreadable(path, line, "file format gain(baseline)/units bits zero first checksum block name")
    return SignalLine(
        file=match["file"],
        format=int(match["format"]),
        per_frame=int(match["per_frame"] or 1) or 1,
        skew=int(match["skew"] or 0),
        offset=int(match["offset"] or 0),
        gain=float(match["gain"] or 0) or DEFAULT_GAIN,
        baseline=int(match["baseline"] or match["zero"] or 0),
        units=match["units"] or "mV",
        checksum=None if match["checksum"] is None else int(match["checksum"]),
        name=(match["description"] or "").strip() or f"signal {index}",
    )


def _segment(path: Path, line: str) -> tuple[str, int]:
    match = _SEGMENT.match(line)
    if match is None:
        raise _unreadable(path, line, "segment samples")
    return match["name"], int(match["samples"])


def _unreadable(path: Path, line: str, form: str) -> ConfigError:
    return ConfigError(f"{path} is no WFDB header: found the line {line[:80]!r}, expected '{form}'; get the file again")
