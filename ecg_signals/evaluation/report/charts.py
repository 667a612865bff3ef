"""Charts of a page as inline SVG: lines and points over axes, and intervals in the cells of a table."""

import html
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ecg_signals.reporting import stored_rows

STYLES = 6  # colours with their dashes in style.css
LEFT, RIGHT, TOP, BOTTOM = 54, 12, 14, 40  # of a chart, around its axes
Place = Callable[..., tuple[np.ndarray, np.ndarray]]  # values along both axes -> where they lie in the box


class Line(NamedTuple):
    """What a chart shows of one thing.

    Attributes:
        name: in the legend; lines of one name are told once, and "" never.
        x, y: values; what is no number is left out.
        style: 0 to STYLES - 1, the colour and the dash; None: by its place in the chart.
        marks: "" a line, "with" a line with dots, "only" dots.
        spread: half lengths of vertical bars.
    """

    name: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    style: int | None = None
    marks: str = ""
    spread: Sequence[float] | np.ndarray | None = None


@dataclass(frozen=True)
class Axis:
    """One axis of a chart.

    Attributes:
        name: below the axis, or beside the title.
        span: both ends, to be rounded; None: those of the values.
        zero: without a span it begins at 0.
        log: distances are ratios.
    """

    name: str
    span: tuple[float, float] | None = None
    zero: bool = False
    log: bool = False

    def ticks(self, values: np.ndarray, most: int) -> list[float]:
        """Where numbers stand; the first and the last are the ends of the axis."""
        low, high = self.span or (0.0 if self.zero else min(values, default=0.0), max(values, default=1.0))
        return log_ticks(low, high) if self.log else ticks(float(low), float(high), most)

    def place(self, values: np.ndarray, ends: Sequence[float]) -> np.ndarray:
        """0 to 1 along the axis."""
        low, high, at = (np.log(v) if self.log else np.asarray(v, float) for v in (ends[0], ends[-1], values))
        return (at - low) / (high - low)


UPDATES = Axis("updates", zero=True)


def read_metrics(path: Path, split: str, key: str) -> tuple[list[float], list[float]]:
    """Updates and values of one statistic of one split in a metrics.jsonl."""
    rows = stored_rows(path)
    found = [(row["num_updates"], row[key]) for row in rows if row["split"] == split and row.get(key) is not None]
    return [float(x) for x, _ in found], [float(y) for _, y in found]


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers that span `low` to `high`."""
    if high <= low:
        high = low + (abs(low) or 1.0)
    step = 10 ** np.floor(np.log10((high - low) / most))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= most + 1e-9)
    first, last = np.floor(low / step + 1e-9), np.ceil(high / step - 1e-9)
    return [float(x) for x in np.arange(first, last + 1) * step]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten that span `low` to `high`, both above 0; of many decades only the powers."""
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high * 1.001))) + 1)
    factors = (1, 2, 5) if len(powers) < 5 else (1,)
    every = [float(f"{factor}e{power}") for power in powers for factor in factors]
    first = max(place for place, value in enumerate(every) if value <= low)
    return every[first : next(place for place, value in enumerate(every) if value >= high and place > first) + 1]


def charts(drawn: Iterable[str], narrow: bool = False) -> str:
    """Charts side by side, narrow ones three in a row where there is room."""
    return f'<div class="charts{" narrow" if narrow else ""}">{"".join(drawn)}</div>'


def legend(names: Iterable[tuple[str, int]]) -> str:
    """The names of styles, each with a piece of its line."""
    return "".join(
        f'<span class="key"><svg viewBox="0 0 34 8" aria-hidden="true"><path class="line c{style}" d="M1 4H33"/></svg>'
        f"{html.escape(name)}</span>"
        for name, style in names
    )


def chart(
    title: str, y_axis: Axis, lines: Iterable[Line], x_axis: Axis = UPDATES, *,
    size: tuple[int, int] = (540, 270), diagonal: bool = False, keys: bool = True,
) -> str:  # fmt: skip
    """A chart as inline SVG below its title.

    Args:
        size: width and height of its box, before it is scaled.
        diagonal: the line of equal x and y is drawn.
        keys: a legend stands behind the title.
    """
    width, height = size
    shown = [_finite(line, place) for place, line in enumerate(lines)]
    across = x_axis.ticks(np.concatenate([np.asarray(line.x) for line in shown] or [np.zeros(0)]), 5)
    up = y_axis.ticks(np.concatenate([reach for line in shown for reach in _reach(line)] or [np.zeros(0)]), 5)

    def place(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        right, rise = x_axis.place(np.asarray(x), across), y_axis.place(np.asarray(y), up)
        return LEFT + (width - LEFT - RIGHT) * right, TOP + (height - TOP - BOTTOM) * (1 - rise)

    box = f'viewBox="0 0 {width} {height}" style="max-width:{1.25 * width:g}px"'
    out = [f'<svg {box} role="img"><title>{html.escape(title)}</title>']
    out += _numbers(across, up, place, size)
    middle = (LEFT + width - RIGHT) / 2
    out.append(f'<text x="{middle:g}" y="{height - 4}" text-anchor="middle">{html.escape(x_axis.name)}</text>')
    if diagonal:
        ends = [max(across[0], up[0]), min(across[-1], up[-1])]
        out.append(polyline(*place(ends, ends), "diagonal", 1))
    for line in shown:
        out += _line(line, place)
    named = {line.name: line.style or 0 for line in shown if line.name}
    caption = f"<b>{html.escape(title)}</b>, {html.escape(y_axis.name)} {legend(named.items()) if keys else ''}"
    return f"<figure><figcaption>{caption}</figcaption>{''.join(out)}</svg></figure>"


def _numbers(across: list[float], up: list[float], place: Place, size: tuple[int, int]) -> Iterator[str]:
    """Numbers along both axes, and a rule across for each of the upright one."""
    for value, y in zip(up, place([across[0]] * len(up), up)[1]):
        yield f'<path class="rule" d="M{LEFT} {y:.1f}H{size[0] - RIGHT}"/>'
        yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_said(value)}</text>'
    for value, x in zip(across, place(across, [up[0]] * len(across))[0]):
        yield f'<text x="{x:.1f}" y="{size[1] - 20}" text-anchor="middle">{_said(value)}</text>'


def _said(value: float) -> str:
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:g}".replace("-", "−")


def _finite(line: Line, place: int) -> Line:
    x, y = np.asarray(line.x, dtype=float), np.asarray(line.y, dtype=float)
    keep = np.isfinite(x) & np.isfinite(y)
    spread = None if line.spread is None else np.nan_to_num(np.asarray(line.spread, dtype=float))[keep]
    style = place if line.style is None else line.style
    return line._replace(x=x[keep], y=y[keep], spread=spread, style=style % STYLES)


def _reach(line: Line) -> list[np.ndarray]:
    half = 0.0 if line.spread is None else np.asarray(line.spread)
    return [np.asarray(line.y) - half, np.asarray(line.y) + half]


def _line(line: Line, place: Place) -> list[str]:
    """Elements of one line: its points, bars and dots."""
    x, y = place(line.x, line.y)
    out = [] if line.marks == "only" else [polyline(x, y, f"line c{line.style}", 1)]
    if line.spread is not None:
        tops, ends = (place(line.x, np.add(line.y, sign * np.asarray(line.spread)))[1] for sign in (1, -1))
        bars = "".join(f"M{a:.1f} {b:.1f}V{c:.1f}" for a, b, c in zip(x, tops, ends))
        out.append(f'<path class="bars c{line.style}" d="{bars}"/>')
    if line.marks or len(x) == 1:
        dots = "".join(f"M{a:.1f} {b:.1f}h0" for a, b in zip(x, y))
        out.append(f'<path class="dots {line.marks} c{line.style}" d="{dots}"/>')
    return out


def interval_bar(value: float, ends: Sequence[float] | None, span: tuple[float, float]) -> str:
    """A value as a dot on the line of its interval, between the ends of `span`, for a cell of a table."""
    low, high = span
    dot, *edges = [4 + 112 * (number - low) / ((high - low) or 1.0) for number in (value, *(ends or ()))]
    line = f'<path class="line" d="M{edges[0]:.1f} 8H{edges[1]:.1f}"/>' if edges else ""
    return (
        f'<svg class="span" viewBox="0 0 120 16" aria-hidden="true">{line}<circle cx="{dot:.1f}" cy="8" r="3.2"/></svg>'
    )


def polyline(x: np.ndarray, y: np.ndarray, style: str = "", decimals: int = 2) -> str:
    points = " ".join(f"{a:.{decimals}f},{b:.{decimals}f}" for a, b in zip(x, y))
    named = f'class="{style}" ' if style else ""
    return f'<polyline {named}points="{points}"/>'
