"""The annotations of EDF+: time-stamped lists (TAL) in a signal of their own."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.limits import MOST_ANNOTATIONS

_TEXTS, _DURATION = b"\x14", b"\x15"


@dataclass(frozen=True)
class Mark:
    """A text at `start`, in seconds from the start of the file on, for `seconds`."""

    start: float
    seconds: float
    text: str


@dataclass(frozen=True)
class Told:
    """What an annotation signal says: marks, and at which second each data record begins (None: it does not say)."""

    marks: list[Mark]
    starts: list[float | None]


def annotations(path: Path, columns: np.ndarray) -> Told:
    """The lists in the bytes of an annotation signal, uint8 [data records, bytes]. Raises: ConfigError for too many."""
    marks: list[Mark] = []
    starts: list[float | None] = []
    for row in columns:
        begin: float | None = None
        for place, stamp in enumerate(row.tobytes().split(b"\0")):
            onset, *texts = stamp.split(_TEXTS)
            when, _, duration = onset.partition(_DURATION)
            start, seconds = _seconds(when), _seconds(duration) or 0.0
            if start is None:
                continue
            if place == 0 and texts[:1] == [b""]:
                begin = start
            marks += [Mark(start, seconds, text.decode("utf-8", "replace")) for text in texts if text]
            if len(marks) > MOST_ANNOTATIONS:
                raise ConfigError(f"{path} holds more than {MOST_ANNOTATIONS} annotations (docs/limits.md)")
        starts.append(begin)
    return Told(marks, starts)


def _seconds(text: bytes) -> float | None:
    try:
        value = float(text) if len(text) <= 32 else np.nan
    except ValueError:
        return None
    return value if np.isfinite(value) else None
