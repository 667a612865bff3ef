"""Figures of a page as inline SVG: curves of a run's statistics, and an ECG on paper."""

import html
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.signal.record import Record
from ecg_signals.signal.sheet import MM_PER_SECOND, PULSE_SECONDS, lay_out

Series = tuple[str, Sequence[float], Sequence[float]]  # name, x, y


def read_metrics(path: Path, split: str, key: str) -> tuple[list[float], list[float]]:
    """Updates and values of one statistic of one split in a metrics.jsonl."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    found = [(row["num_updates"], row[key]) for row in rows if row["split"] == split and row.get(key) is not None]
    return [float(x) for x, _ in found], [float(y) for _, y in found]


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that span `low` to `high`."""
    if high <= low:
        high = low + (abs(low) or 1.0)
    step = 10 ** np.floor(np.log10((high - low) / count))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= count)
    return [float(x) for x in np.arange(np.floor(low / step), np.ceil(high / step) + 1) * step]


def charts(figures: Iterable[tuple[str, str, Path, Sequence[tuple[str, str]]]]) -> str:
    """Charts side by side: (title, what is shown, a metrics.jsonl, its curves as split and statistic)."""
    drawn = [
        chart(title, y_name, [(split, *read_metrics(path, split, key)) for split, key in curves])
        for title, y_name, path, curves in figures
    ]
    return f'<div class="charts">{"".join(drawn)}</div>'


def _finite(x: Sequence[float], y: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    keep = np.isfinite(np.asarray(y, dtype=float))
    return np.asarray(x, dtype=float)[keep], np.asarray(y, dtype=float)[keep]


def chart(title: str, y_name: str, series: Iterable[Series], width: int = 540, height: int = 270) -> str:
    """A line chart as inline SVG; values that are no numbers are left out."""
    lines = [(name, *_finite(x, y)) for name, x, y in series]
    left, right, top, bottom = 54, 12, 14, 40
    across = ticks(0, max((float(x.max()) for _, x, _ in lines if len(x)), default=1.0))
    values = np.concatenate([y for *_, y in lines] or [np.zeros(1)])
    up = ticks(float(min(values, default=0.0)), float(max(values, default=1.0)), 4)

    def place(x: Any, y: Any) -> tuple[Any, Any]:
        inner = (width - left - right, height - top - bottom)
        return (left + inner[0] * x / across[-1], top + inner[1] * (1 - (y - up[0]) / (up[-1] - up[0])))

    out = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(title)}">']
    for value in up:
        y = place(0, value)[1]
        out.append(f'<line class="rule" x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        out.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in across:
        out.append(f'<text x="{place(value, up[0])[0]:.1f}" y="{height - 20}" text-anchor="middle">{value:g}</text>')
    out.append(f'<text x="{(left + width - right) / 2}" y="{height - 4}" text-anchor="middle">updates</text>')
    for number, (_, x, y) in enumerate(lines):
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(*place(x, y)))
        out.append(f'<polyline class="line c{number}" points="{points}"/>')
    keys = "".join(f'<span class="key c{n}">{html.escape(name)}</span>' for n, (name, *_) in enumerate(lines))
    caption = f"<b>{html.escape(title)}</b>, {html.escape(y_name)} {keys}"
    return f"<figure><figcaption>{caption}</figcaption>{''.join(out)}</svg></figure>"


def ecg(record: Record) -> str:
    """Ten seconds as on paper, laid out like the pictures of `ecg-predict --plot`. SVG in millimetres."""
    sheet = lay_out(record)
    below = f'x="{sheet.width:g}" y="{sheet.height + 4:g}"'
    text = [f'<text class="gain" {below}>{html.escape(sheet.note)}</text>']
    x, y = np.array([2.0, 4, 4, 9, 9, 11]), np.array([0.0, 0, 1, 1, 0, 0])  # the pulse before every row
    drawn = [_polyline(x, row.baseline - y * sheet.pulse * sheet.gain) for row in sheet.rows]
    for strip in sheet.strips:
        row = sheet.rows[strip.row]
        left = (PULSE_SECONDS + strip.start) * MM_PER_SECOND
        name = f"{strip.lead} missing" if strip.empty else strip.lead
        text.append(f'<text x="{left + 1:.1f}" y="{row.top + 3.5:.1f}">{html.escape(name)}</text>')
        x = (PULSE_SECONDS + sheet.times(strip)) * MM_PER_SECOND
        y = row.baseline - strip.signal * sheet.gain
        drawn += [_polyline(x[part], y[part]) for part in _runs(np.isfinite(y))]
    lines = "".join(
        f'<pattern id="mm{size}" width="{size}" height="{size}" patternUnits="userSpaceOnUse">'
        f'<path d="M {size} 0 H 0 V {size}" class="paper" stroke-width="{thick}"/></pattern>'
        for size, thick in ((1, 0.08), (5, 0.2))
    )
    box = f'width="{sheet.width:g}" height="{sheet.height:g}"'
    area = "".join(f'<rect {box} fill="url(#mm{size})"/>' for size in (1, 5))
    return (
        f'<svg class="ecg" viewBox="0 0 {sheet.width:g} {sheet.height + 5:g}"><defs>{lines}</defs>{area}'
        f"{''.join(drawn)}{''.join(text)}</svg>"
    )


def _polyline(x: np.ndarray, y: np.ndarray) -> str:
    points = " ".join(f"{a:.2f},{b:.2f}" for a, b in zip(x, y))
    return f'<polyline points="{points}"/>'


def _runs(there: np.ndarray) -> list[slice]:
    """Stretches of samples that have values; between them no line is drawn."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], there, [False])).astype(int)))
    return [slice(int(begin), int(end)) for begin, end in edges.reshape(-1, 2)]
