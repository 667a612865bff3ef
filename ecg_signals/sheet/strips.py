"""Which samples of a record every place of a sheet shows."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ecg_signals.sheet.arrangement import Place
from ecg_signals.sheet.style import TRACES, Style
from ecg_signals.signal.record import Record

PART = 12.5  # mm


@dataclass(frozen=True)
class Strip:
    """What a place shows.

    Attributes:
        start: seconds of the record at the first sample.
        left, right: of the place, mm of the width that traces have; `first`: of the first sample.
        signal: [samples], mV about `offset`, their median; NaN where there is no value.
        step: mm of paper from one sample to the next.
        recorded: False where the whole record has no value of the lead.
    """

    place: Place
    start: float
    left: float
    right: float
    first: float
    signal: np.ndarray
    offset: float
    step: float
    recorded: bool

    @property
    def empty(self) -> bool:
        return not np.isfinite(self.signal).any()

    @cached_property
    def parts(self) -> list[tuple[float, float, float, float]]:
        """Pieces of PART mm: where they begin and end, as `left`, and mV above and below the baseline."""
        each = max(1, math.ceil(PART / self.step))
        return [
            (self.first + at * self.step, self.first + (at + each) * self.step, _highest(part), _highest(-part))
            for at in range(0, len(self.signal), each)
            for part in [self.signal[at : at + each]]
        ]

    def up(self, within: float = math.inf) -> float:
        """mV above the baseline of all, or of the first so many mm."""
        return max((up for left, _, up, _ in self.parts if left < self.left + within), default=0.0)

    def down(self) -> float:
        return max((down for *_, down in self.parts), default=0.0)


def strips(record: Record, places: Sequence[Place], style: Style) -> Iterator[Strip]:
    """One per place. The columns of a row follow each other in time, unless the record is too short, see `in_turn`."""
    span, rate = TRACES / style.mm_per_second, record.sample_rate
    end = min(style.start + span, record.signal.shape[1] / rate)
    for place in places:
        width = span / place.columns
        begin = style.start + (place.column * width if in_turn(record, place.columns, style) else 0.0)
        first, last = (round(min(at, end) * rate) for at in (begin, begin + width))
        if place.source is None:
            signal, recorded = np.full(last - first, np.nan), False
        else:
            signal = place.sign * record.signal[place.source, first:last].astype(np.float64)
            recorded = bool(np.isfinite(signal).any() or np.isfinite(record.signal[place.source]).any())
        signal[~np.isfinite(signal)] = np.nan
        offset = float(np.nanmedian(signal)) if np.isfinite(signal).any() else 0.0
        left = place.column * TRACES / place.columns
        lead_in = (first / rate - begin) * style.mm_per_second  # less than one sample
        yield Strip(place, first / rate, left, left + TRACES / place.columns, left + lead_in, signal - offset, offset,
                    style.mm_per_second / rate, recorded)  # fmt: skip


def in_turn(record: Record, columns: int, style: Style) -> bool:
    """Whether the record fills the columns of a page one after the other, the last one at least by half; else all of
    them show the same time."""
    span = TRACES / style.mm_per_second
    return record.signal.shape[1] / record.sample_rate - style.start >= span * (1 - 0.5 / columns)


def _highest(values: np.ndarray) -> float:
    return max(0.0, float(np.nanmax(values))) if np.isfinite(values).any() else 0.0
