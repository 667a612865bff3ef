"""A record -> a sheet: which samples of which lead lie where, and under which scale.

No amplitude is ever changed to make it fit: where the traces would leave the grid or come near a neighbour, the gain of
the whole sheet falls, which its foot says.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.limits import shown
from ecg_signals.sheet.arrangement import arranged
from ecg_signals.sheet.paper import PAGES, Box, Line, Sheet, Text, Trace
from ecg_signals.sheet.rows import Extent, spread
from ecg_signals.sheet.strips import Strip, in_turn, strips
from ecg_signals.sheet.style import GAINS, OVERVIEW_SECONDS, TRACES, Style
from ecg_signals.sheet.words import DAGGER, Facts, lead_name, letters, texts
from ecg_signals.signal.leads import LIMB_LEADS, derive_limb_leads, order_leads
from ecg_signals.signal.record import Record

USUAL = Style()
GRID_WIDTH, LEAD_IN = 270.0, 15.0  # mm; the second lies in front of the traces, for the pulse
HEAD, FOOT = 20.0, 12.0  # mm above and below the grid, at least
NAME, NAME_ABOVE, NAME_RIGHT = 3.2, 1.0, 1.5  # mm: font, above the trace's first part, right of its start
EVERY_SAMPLE, FINEST = 1000.0, 0.05  # Hz above which a sheet shows the extremes of so many mm
PULSE_SECONDS, LEAST_PULSE = 0.2, 2.5  # of 1 mV, or of 10, 100 ... mV where it would be lower than so many mm
SEPARATOR = 2.5  # mm above and below the baseline


def layout(record: Record, style: Style = USUAL, title: str = "", answerer: str = "", quality: str = "") -> Sheet:
    """The page of a record that begins at `style.start`.

    Args:
        title: of the header, such as the name of the file.
        answerer: who said what the panel will show, for the foot.
        quality: what is wrong with the record, for the header.
    Raises: ConfigError where the record ends before `style.start`, and for a rhythm lead that does not exist.
    """
    seconds = record.signal.shape[1] / record.sample_rate
    if style.start and style.start >= seconds:
        raise ConfigError(f"the record has {seconds:g} s, and a sheet from {style.start:g} s on would be empty")
    record, derived = _complete(record, style.derive)
    places, left_out = arranged(record.leads, style.layout, style.rhythm)
    drawn = [strip for strip in strips(record, places, style) if strip.place.lead]
    grid = _grid(style)
    gain, pulse, baselines = _scale(drawn, style, grid)
    every = max(style.every, FINEST) if record.sample_rate > EVERY_SAMPLE else style.every
    traces = [_trace(strip, grid, baselines[strip.place.row], gain, every) for strip in drawn]
    columns = max(place.columns for place in places)
    consecutive = in_turn(record, columns, style)
    facts = Facts(title, answerer, record, style, gain, pulse, left_out, derived, consecutive, quality)
    width, height = PAGES[style.page]
    return Sheet(
        width=width, height=height, grid=grid, tint=style.tint, speed=style.mm_per_second, gain=gain,
        rate=record.sample_rate, every=every, title=f"ECG {shown(title)}".strip(), about=facts.spoken(),
        traces=tuple(trace for strip, trace in zip(drawn, traces) if not strip.empty),
        lines=(*_pulses(grid, baselines, gain * pulse, style), *_separators(drawn, traces)),
        texts=(*(_name(strip, trace, gain, derived) for strip, trace in zip(drawn, traces)), *texts(facts, grid)),
    )  # fmt: skip


def pages(record: Record, style: Style = USUAL, title: str = "", quality: str = "") -> Iterator[Sheet]:
    """All pages of a record from `style.start` on, made one by one.

    12 x 1 has 30 s a page where there are more than two, unless a speed is given.
    """
    left = record.signal.shape[1] / record.sample_rate - style.start
    if style.layout == "12x1" and style.speed is None and left > 2 * TRACES / style.mm_per_second:
        style = replace(style, speed=TRACES / OVERVIEW_SECONDS)
    span = TRACES / style.mm_per_second
    total = max(1, math.ceil(left / span - 1e-9))
    for number in range(total):
        named = f"{title}, page {number + 1} of {total}" if total > 1 else title
        yield layout(record, replace(style, start=style.start + number * span), named, quality=quality)


def _complete(record: Record, derive: bool) -> tuple[Record, list[str]]:
    """The record, with all limb leads if they are to be derived, and the names of those that are computed."""
    derived = list(record.derived)
    if not derive:
        return record, derived
    lowered = [name.lower() for name in record.leads]
    leads = [*record.leads, *(name for name in LIMB_LEADS if name.lower() not in lowered)]
    signal, found = derive_limb_leads(order_leads(record.signal, record.leads, leads), leads)
    return replace(record, signal=signal, leads=leads), [*derived, *found]


def _grid(style: Style) -> Box:
    width, height = PAGES[style.page]
    high = math.floor((height - HEAD - FOOT - style.panel) / 5) * 5.0
    return Box((width - GRID_WIDTH) / 2, HEAD, GRID_WIDTH, high, "grid")


def _scale(drawn: Sequence[Strip], style: Style, grid: Box) -> tuple[float, float, list[float]]:
    """The largest gain whose rows fit, mm/mV, the pulse that shows it, mV, and the baselines below the grid's edge."""
    for gain in _gains(style.gain):
        pulse = 10.0 ** max(0, math.ceil(math.log10(LEAST_PULSE / gain) - 1e-9))
        baselines = spread(_extents(drawn, gain, pulse), grid.height)
        if baselines is not None:
            return gain, pulse, baselines
    raise AssertionError("some gain fits every finite signal")


def _gains(first: float) -> Iterator[float]:
    yield from (gain for gain in GAINS if gain <= first)
    for decade in count():
        yield from (step / 10**decade for step in (1.0, 0.5, 0.25))


def _extents(drawn: Sequence[Strip], gain: float, pulse: float) -> list[list[Extent]]:
    """What stands in every row, from left to right in mm of the traces' width."""
    rows = [[Extent(-LEAD_IN, 0.0, pulse * gain, 0.0)] for _ in range(1 + max(strip.place.row for strip in drawn))]
    for strip in drawn:
        row = rows[strip.place.row]
        row.append(Extent(strip.left, strip.right, strip.up() * gain, strip.down() * gain, whole=True))
        row.append(Extent(strip.left, strip.left + _name_width(strip), _name_above(strip, gain) + NAME, 0.0))
        row += [Extent(left, right, up * gain, down * gain) for left, right, up, down in strip.parts]
    return rows


def _name_width(strip: Strip) -> float:
    return NAME_RIGHT + letters(lead_name(strip.place.lead, strip.recorded)) * NAME


def _name_above(strip: Strip, gain: float) -> float:
    """mm between baseline and name: the name stands above what of the trace lies below it."""
    return strip.up(_name_width(strip)) * gain + NAME_ABOVE


def _trace(strip: Strip, grid: Box, baseline: float, gain: float, every: float) -> Trace:
    x0, base = grid.x + LEAD_IN + strip.first, grid.y + baseline
    x, y = x0 + np.arange(len(strip.signal)) * strip.step, base - strip.signal * gain
    kept = thinned(y, int(every / strip.step))
    return Trace(strip.place.lead, strip.start, x0, base, strip.offset, x[kept], y[kept])


def thinned(values: np.ndarray, bucket: int) -> np.ndarray:
    """Places of the first, the last, and the lowest and highest of every `bucket` values, which need no others to be
    seen, in every stretch between gaps, and of one NaN per gap; all where a bucket holds up to two."""
    there = np.isfinite(values)
    if bucket < 3 or not there.any():
        return np.arange(len(values))
    edges = np.flatnonzero(np.diff(there)) + 1
    stretches = zip([0, *edges], [*edges, len(values)])
    return np.concatenate([
        begin + (_extremes(values[begin:end], bucket) if there[begin] else np.zeros(1, dtype=int))
        for begin, end in stretches
    ])  # fmt: skip


def _extremes(values: np.ndarray, bucket: int) -> np.ndarray:
    whole = np.pad(values, (0, -len(values) % bucket), mode="edge").reshape(-1, bucket)
    starts, last = np.arange(len(whole)) * bucket, len(values) - 1
    found = np.concatenate([[0], starts + whole.argmin(axis=1), starts + whole.argmax(axis=1), [last]])
    return np.unique(np.minimum(found, last))


def _name(strip: Strip, trace: Trace, gain: float, derived: Sequence[str]) -> Text:
    words = lead_name(strip.place.lead, strip.recorded)
    marked = strip.place.lead.removeprefix("-").lower() in map(str.lower, derived)
    x = trace.x0 - strip.first + strip.left + NAME_RIGHT
    y = trace.base - _name_above(strip, gain)
    return Text(x, y, words + DAGGER * marked, NAME, bold=strip.recorded, role="lead")


def _pulses(grid: Box, baselines: Sequence[float], height: float, style: Style) -> Iterator[Line]:
    """In front of every row: 0.2 s of the calibration voltage, which ends a little before the traces begin."""
    wide = PULSE_SECONDS * style.mm_per_second
    up = grid.x + max(LEAD_IN / 2 - wide / 2, 1.0)
    for baseline in baselines:
        low = grid.y + baseline
        x = (grid.x + 1.0, up, up, up + wide, up + wide, grid.x + LEAD_IN - 1.0)
        yield Line(x, (low, low, low - height, low - height, low, low), "pulse")


def _separators(drawn: Sequence[Strip], traces: Sequence[Trace]) -> Iterator[Line]:
    for strip, trace in zip(drawn, traces):
        if strip.place.column and not strip.empty:
            x = trace.x0 - strip.first + strip.left
            yield Line((x, x), (trace.base - SEPARATOR, trace.base + SEPARATOR), "separator")
