"""WFDB header files (.hea): one record line, one line per signal or per segment, and comments."""

import math
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from ecg_signals.config import ConfigError
from ecg_signals.limits import HEADER_BYTES, HIGHEST_RATE, LONGEST_HEADER_LINE, LOWEST_RATE, MOST_SIGNALS, read_regular

DEFAULT_RATE = 250.0  # Hz; what WFDB takes where the header says none
_RECORD = "name signals rate samples"
_SIGNAL = "file format gain(baseline)/units bits zero first checksum block name"
_SEGMENT = "segment samples"


@dataclass(slots=True)
class SignalLine:
    """One signal: where its samples lie and how counts become physical values, (count - baseline) / gain.

    Attributes:
        gain: counts per unit; None for a signal that was not calibrated (0 or none in the header).
        units: as written; "" where the header has none, which means mV.
    """

    file: str
    format: int
    per_frame: int
    skew: int
    offset: int
    gain: float | None
    baseline: float
    units: str
    first: int
    checksum: int | None
    name: str


@dataclass
class Header:
    """A parsed .hea file; `segments` holds (record name, frames) pairs and is empty for an ordinary record.

    Attributes:
        rate: frames per second; a signal has `per_frame` samples in each.
        samples: frames, None where the header leaves it to the signal files.
    """

    path: Path
    rate: float
    samples: int | None
    when: str
    signals: list[SignalLine] = field(default_factory=list)
    segments: list[tuple[str, int]] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)


def read_header(path: Path, raw: bytes | None = None) -> Header:
    """`raw`: the file's content, where that is known. Raises: ConfigError naming the line that is not WFDB."""
    if raw is None:
        raw = read_regular(path, HEADER_BYTES)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")  # every byte is a character; a micro sign is the usual case
    lines, comments = [], []
    for line in text.replace("\r", "\n").split("\n"):
        line = line.strip()
        if line.startswith("#"):
            comments.append(line.lstrip("# \t"))
        elif line:
            if len(line) > LONGEST_HEADER_LINE:
                raise _unreadable(path, line, f"lines of at most {LONGEST_HEADER_LINE} letters")
            lines.append(line)
    if not lines:
        raise ConfigError(f"{path} is empty; a WFDB header starts with a line 'name signals rate samples'")
    header, count, segmented = _record_line(path, lines[0])
    header.comments = comments
    kind = "segment" if segmented else "signal"
    if len(lines) - 1 != count:
        raise ConfigError(f"{path} announces {count} {kind}s but has {len(lines) - 1} {kind} lines; get the file again")
    if segmented:
        header.segments = [_segment_line(path, line) for line in lines[1:]]
    elif count > MOST_SIGNALS:
        raise ConfigError(f"{path} describes {count} signals; at most {MOST_SIGNALS} are believed (docs/limits.md)")
    else:
        header.signals = [_signal_line(path, line, index) for index, line in enumerate(lines[1:])]
    return header


def _record_line(path: Path, line: str) -> tuple[Header, int, bool]:
    """What the first line says: an empty header, the number of lines that follow, whether those are segments."""
    words = line.split(None, 4)
    *parts, last = words[0].split("/")
    # A published data set writes "folder/name" for the name; "name/3" is a record of three segments.
    segmented = bool(parts) and last.isdigit() and not (last == path.stem and parts[-1] != path.stem)
    try:
        signals = _count(words[1])
        rate = _number(words[2].partition("/")[0]) if len(words) > 2 else 0.0
        samples = _count(words[3]) if len(words) > 3 else 0
        count = _count(last) if segmented else signals
    except (ValueError, IndexError):
        raise _unreadable(path, line, _RECORD) from None
    if rate and not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise ConfigError(
            f"{path} states {rate:g} Hz; from {LOWEST_RATE:g} to {HIGHEST_RATE:g} Hz are believed (docs/limits.md)"
        )
    when = words[4].strip() if len(words) > 4 else ""
    return Header(path, rate or DEFAULT_RATE, samples or None, when), count, segmented


def _signal_line(path: Path, line: str, index: int) -> SignalLine:
    """Every field stands at its place; one that does not parse is an error, never part of the name."""
    words = line.split(None, 8)
    try:
        storage, per_frame, skew, offset = _storage(words[1])
        gain, baseline, units = _calibration(words[2]) if len(words) > 2 else (None, None, "")
        numbers: list[int | None] = [*map(_integer, words[3:8])]  # bits, zero, first, checksum, block
    except (ValueError, IndexError):
        raise _unreadable(path, line, _SIGNAL) from None
    if (gain and not 1e-12 < abs(gain) < 1e15) or abs(baseline or 0) > 1e12:
        raise ConfigError(f"{path}: nobody uses the gain or the baseline of the line {line[:80]!r}; correct it")
    _, zero, first, checksum, _ = numbers + [None] * (5 - len(numbers))
    zero = zero or 0
    return SignalLine(
        file=words[0],
        format=storage,
        per_frame=per_frame or 1,
        skew=skew,
        offset=offset,
        gain=gain or None,
        baseline=zero if baseline is None else baseline,
        units=units,
        first=zero if first is None else first,
        checksum=checksum,
        name=words[8].strip() if len(words) > 8 else f"signal {index}",
    )


@lru_cache(maxsize=1024)
def _storage(word: str) -> tuple[int, int, int, int]:
    """ "16x4:3+24" -> format, samples per frame, skew, byte offset."""
    rest, plus, offset = word.partition("+")
    rest, colon, skew = rest.partition(":")
    storage, times, per_frame = rest.partition("x")
    pairs = ((times, per_frame, 1), (colon, skew, 0), (plus, offset, 0))
    found = [_count(text) if mark else default for mark, text, default in pairs]
    return _count(storage), found[0], found[1], found[2]


@lru_cache(maxsize=1024)
def _calibration(word: str) -> tuple[float, float | None, str]:
    """ "1000(-5)/mV" -> gain, baseline (None where there is none), units."""
    number, slash, units = word.partition("/")
    if slash and not units:
        raise ValueError
    baseline = None
    if number.endswith(")"):
        number, _, inside = number[:-1].partition("(")
        baseline = _number(inside)
    return _number(number), baseline, units


def _segment_line(path: Path, line: str) -> tuple[str, int]:
    words = line.split()
    try:
        name, frames = words
        return name, _count(frames)
    except ValueError:
        raise _unreadable(path, line, _SEGMENT) from None


def _count(text: str) -> int:
    """A number without sign."""
    if not text.isdigit():
        raise ValueError
    return int(text)


@lru_cache(maxsize=1024)
def _integer(text: str) -> int:
    if not text.removeprefix("-").isdigit() or len(text) > 12:
        raise ValueError
    return int(text)


def _number(text: str) -> float:
    """A finite number with a decimal point; "1000,0" could be either ten thousand or a thousand."""
    value = float(text)
    if "_" in text or not math.isfinite(value):
        raise ValueError
    return value


def _unreadable(path: Path, line: str, form: str) -> ConfigError:
    return ConfigError(f"{path} is no WFDB header: found the line {line[:80]!r}, expected '{form}'; get the file again")
