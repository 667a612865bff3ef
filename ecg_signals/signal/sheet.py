"""Where every trace of a record lies on a sheet of ECG paper, in millimetres; `plots` and the demo draw it.

No amplitude is ever changed to make it fit: every row is as high as its traces, and when a row would become higher than
`HIGHEST_ROW` the gain of the whole sheet falls, which its note says.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from ecg_signals.signal.leads import LEADS, order_leads
from ecg_signals.signal.record import Record

GRID = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))  # the usual printout
RHYTHM = "II"  # the lead of the strip below
SHEET_SECONDS, COLUMN_SECONDS = 10.0, 2.5
MM_PER_SECOND, MM_PER_MV = 25.0, 10.0  # the usual speed and the usual gain
HIGHEST_ROW = 60.0  # mm that the traces of a row may span
LEAST_UP, LEAST_DOWN = 10.0, 6.0  # mm above and below a baseline, also where the traces need less
NAME, EDGE = 4.5, 2.0  # mm for the names above a row's traces, and around all rows
PULSE_SECONDS = 0.5  # in front of the traces, for the calibration pulse
MOST_ROWS = 24  # leads of a record that has a row for each


@dataclass(frozen=True)
class Strip:
    """One trace: `signal` [samples] in mV about its median, NaN where there is no value, from `start` seconds on."""

    lead: str
    row: int
    start: float
    signal: np.ndarray

    @property
    def empty(self) -> bool:
        return not np.isfinite(self.signal).any()


@dataclass(frozen=True)
class Row:
    """Millimetres below the sheet's upper edge: names stand below `top`, traces from `top` + NAME to `bottom`."""

    top: float
    baseline: float
    bottom: float


@dataclass(frozen=True)
class Sheet:
    """A sample of value v at t seconds lies at x = (PULSE_SECONDS + t) * MM_PER_SECOND, y = baseline - v * gain.

    Attributes:
        strips: the traces, at most SHEET_SECONDS long.
        rows: one per number that the strips name, from top to bottom, without overlap.
        sample_rate: Hz.
        gain: mm/mV.
        pulse: height of the calibration pulse, mV.
        width, height: of the paper, mm.
        note: what a reader has to know: the time shown, the scales, and what is left out.
    """

    strips: tuple[Strip, ...]
    rows: tuple[Row, ...]
    sample_rate: float
    gain: float
    pulse: float
    width: float
    height: float
    note: str

    def times(self, strip: Strip) -> np.ndarray:
        """[samples]: seconds on the sheet of every sample of a strip."""
        return strip.start + np.arange(len(strip.signal)) / self.sample_rate


def lay_out(record: Record) -> Sheet:
    """The first 10 s of a record: 25 mm/s, 2.5 s of every lead in three rows of four, 10 s of lead II below them.

    A record shorter than 10 s shows the same time in all columns. One of up to three leads, or with other leads than
    the standard twelve, has a row per lead. A lead that is missing keeps its place, with an empty strip.
    """
    strips = tuple(_strips(record))
    spans = [_span([strip for strip in strips if strip.row == row]) for row in range(1 + max(s.row for s in strips))]
    gain, pulse = _gain(max(up + down for up, down in spans))
    rows, top = [], EDGE
    for up, down in spans:
        baseline = top + NAME + max(up * gain, LEAST_UP)
        rows.append(Row(top, baseline, baseline + max(down * gain, LEAST_DOWN)))
        top = rows[-1].bottom
    seconds = max(max(strip.start for strip in strips) + COLUMN_SECONDS, _seconds(record))
    return Sheet(
        strips, tuple(rows), record.sample_rate, gain, pulse,
        width=(PULSE_SECONDS + math.ceil(seconds * 5 - 1e-6) / 5 + 0.2) * MM_PER_SECOND,
        height=math.ceil((top + EDGE) / 5) * 5,
        note=_note(record, strips, gain, pulse),
    )  # fmt: skip


def _seconds(record: Record) -> float:
    return min(record.signal.shape[1] / record.sample_rate, SHEET_SECONDS)


def _grid(record: Record) -> bool:
    """Whether the leads go in three rows of four, or each in a row of its own."""
    names = {lead.lower() for lead in record.leads}
    return len(names) == len(record.leads) > 3 and names <= {lead.lower() for lead in LEADS}


def _strips(record: Record) -> Iterator[Strip]:
    rate, seconds = record.sample_rate, _seconds(record)
    if not _grid(record):
        for row, lead in enumerate(record.leads[:MOST_ROWS]):
            yield _strip(lead, row, 0.0, record.signal[row, : round(seconds * rate)])
        return
    signal = order_leads(record.signal, record.leads, LEADS)
    whole = seconds >= SHEET_SECONDS
    width = COLUMN_SECONDS if whole else min(seconds, COLUMN_SECONDS)
    for row, leads in enumerate(GRID):
        for column, lead in enumerate(leads):
            begin = round(column * width * rate) if whole else 0
            end = round((column + 1) * width * rate) if whole else round(width * rate)
            start = begin / rate if whole else column * width
            yield _strip(lead, row, start, signal[LEADS.index(lead), begin:end])
    yield _strip(RHYTHM, len(GRID), 0.0, signal[LEADS.index(RHYTHM), : round(seconds * rate)])


def _strip(lead: str, row: int, start: float, signal: np.ndarray) -> Strip:
    values = signal.astype(np.float64)
    values[~np.isfinite(values)] = np.nan
    if not np.isnan(values).all():
        values -= np.nanmedian(values)  # raw recordings may lie hundreds of mV from zero
    return Strip(lead, row, start, values)


def _span(strips: Sequence[Strip]) -> tuple[float, float]:
    """How far the traces of a row reach above and below its baseline, mV."""
    seen = [strip.signal for strip in strips if not strip.empty]
    return max((float(np.nanmax(s)) for s in seen), default=0.0), max((-float(np.nanmin(s)) for s in seen), default=0.0)


def _gain(span: float) -> tuple[float, float]:
    """The largest of 10, 5, 2.5, 1, 0.5, 0.25 ... mm/mV that fits `span` mV, and the pulse of 2.5 to 10 mm, mV."""
    for decade in count():
        for step in (1.0, 0.5, 0.25):
            gain = MM_PER_MV * step / 10**decade
            if span * gain <= HIGHEST_ROW:
                return gain, float(10**decade)
    raise AssertionError("some gain fits every finite span")


def _note(record: Record, strips: Sequence[Strip], gain: float, pulse: float) -> str:
    seconds = record.signal.shape[1] / record.sample_rate
    parts = [f"first {SHEET_SECONDS:g} of {seconds:g} s" if seconds > SHEET_SECONDS else f"{seconds:g} s"]
    if not _grid(record) and len(record.leads) > len(strips):
        parts.append(f"first {len(strips)} of {len(record.leads)} leads")
    parts += [f"{record.sample_rate:g} Hz", f"{MM_PER_SECOND:g} mm/s"]
    parts.append(f"{gain:g} mm/mV" if gain == MM_PER_MV else f"{gain:g} mm/mV instead of {MM_PER_MV:g}")
    return ", ".join([*parts, f"pulse {pulse:g} mV"])
