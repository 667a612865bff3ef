"""One self-contained HTML page: training curves, a table of labels, one ECG with its prediction."""

import csv
import html
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.signal.record import Record
from ecg_signals.signal.sheet import MM_PER_SECOND, PULSE_SECONDS, lay_out

Series = tuple[str, Sequence[float], Sequence[float]]  # name, x, y


@dataclass
class LabelScore:
    """One row of the table; auroc and auprc are None where the test split holds a single class."""

    name: str
    meaning: str
    train: int  # training records with the label
    test: int  # test records with it
    auroc: float | None
    auprc: float | None
    interval: tuple[float, float] | None  # 95 % of the auroc; None for a label with too few records for the headline


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


def _finite(x: Sequence[float], y: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    keep = np.isfinite(np.asarray(y, dtype=float))
    return np.asarray(x, dtype=float)[keep], np.asarray(y, dtype=float)[keep]


def chart(title: str, y_name: str, series: Iterable[Series], width: int = 540, height: int = 270) -> str:
    """A line chart as inline SVG; values that are no numbers are left out."""
    series = [(name, *_finite(x, y)) for name, x, y in series]
    left, right, top, bottom = 54, 12, 14, 40
    across = ticks(0, max((float(x.max()) for _, x, _ in series if len(x)), default=1.0))
    values = np.concatenate([y for *_, y in series] or [np.zeros(1)])
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
    for number, (_, x, y) in enumerate(series):
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(*place(x, y)))
        out.append(f'<polyline class="line c{number}" points="{points}"/>')
    keys = "".join(f'<span class="key c{n}">{html.escape(name)}</span>' for n, (name, *_) in enumerate(series))
    caption = f"<b>{html.escape(title)}</b>, {html.escape(y_name)} {keys}"
    return f"<figure><figcaption>{caption}</figcaption>{''.join(out)}</svg></figure>"


def ecg(record: Record) -> str:
    """Ten seconds as on paper, laid out like the pictures of `ecg-predict --plot`. SVG in millimetres."""
    sheet = lay_out(record)
    below = f'x="{sheet.width:g}" y="{sheet.height + 4:g}"'
    text = [f'<text class="gain" {below}>{html.escape(sheet.note)}</text>']
    drawn = [_pulse(row.baseline, sheet.pulse * sheet.gain) for row in sheet.rows]
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


def _pulse(baseline: float, height: float) -> str:
    x, y = np.array([2.0, 4, 4, 9, 9, 11]), np.array([0.0, 0, 1, 1, 0, 0])
    return _polyline(x, baseline - y * height)


def _polyline(x: np.ndarray, y: np.ndarray) -> str:
    points = " ".join(f"{a:.2f},{b:.2f}" for a, b in zip(x, y))
    return f'<polyline points="{points}"/>'


def _runs(there: np.ndarray) -> list[slice]:
    """Stretches of samples that have values; between them no line is drawn."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], there, [False])).astype(int)))
    return [slice(int(begin), int(end)) for begin, end in edges.reshape(-1, 2)]


def label_table(scores: Sequence[LabelScore], least: int) -> str:
    """Labels in the headline, then those with few test records, then the names of those without any.

    Args:
        least: positive and negative records that the headline asks for.
    """
    head = "".join(
        f"<th>{name}</th>" for name in ("label", "meaning", "train", "test", "AUROC", "95 % interval", "", "AUPRC")
    )
    measured = sorted((s for s in scores if s.auroc is not None), key=lambda s: (s.interval is None, -s.test, s.name))
    rows = "".join(_label_row(score) for score in measured)
    rest = ", ".join(html.escape(s.name) for s in scores if s.auroc is None)
    return (
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        f'<p class="note">train, test: records with the label. Grey: fewer than {least} test records have it, or lack '
        f"it; such values say nothing, and the headline leaves them out. Intervals: bootstrap over patients.</p>"
        f'<p class="note">Not measured, since the test split has no positive or no negative of them: {rest}.</p>'
    )


def _label_row(score: LabelScore) -> str:
    few = " class=few" if score.interval is None else ""
    span = "" if score.interval is None else f"{score.interval[0]:.2f} to {score.interval[1]:.2f}"
    return (
        f"<tr{few}><td><b>{html.escape(score.name)}</b></td><td>{html.escape(score.meaning)}</td>"
        f"<td>{score.train}</td><td>{score.test}</td><td>{score.auroc:.3f}</td><td>{span}</td>"
        f'<td class="bar"><i style="width: {score.auroc:.0%}"></i></td><td>{score.auprc:.3f}</td></tr>'
    )


def prediction_list(
    names: Sequence[str], probabilities: Sequence[float], truth: set[str], meanings: dict[str, str]
) -> str:
    """The most probable labels of one record, true ones marked."""
    best = np.argsort(probabilities)[::-1][:6]
    rows = "".join(
        f"<tr><td>{'✓' if names[k] in truth else ''}</td><td><b>{html.escape(names[k])}</b></td>"
        f"<td>{html.escape(meanings.get(names[k], ''))}</td><td>{probabilities[k]:.2f}</td>"
        f'<td class="bar"><i style="width: {probabilities[k]:.0%}"></i></td></tr>'
        for k in best
    )
    missed = sorted(truth - {names[k] for k in best})
    also = f'<p class="note">Also true: {html.escape(", ".join(missed))}.</p>' if missed else ""
    head = "<th>true</th><th>label</th><th>meaning</th><th>probability</th><th></th>"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{also}"


def statement_meanings(path: Path) -> dict[str, str]:
    """What PTB-XL's labels stand for."""
    with path.open(newline="") as file:
        return {row[""]: row["description"] for row in csv.DictReader(file)}


def page(title: str, lead: str, tiles: Sequence[tuple[str, str]], sections: Sequence[tuple[str, str]]) -> str:
    """The whole page; `sections` are (heading, html)."""
    top = "".join(f"<div><b>{html.escape(value)}</b><span>{html.escape(name)}</span></div>" for name, value in tiles)
    body = "".join(f"<h2>{html.escape(heading)}</h2>{content}" for heading, content in sections)
    style = (Path(__file__).parent / "style.css").read_text()
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head><body><main>'
        f'<h1>{html.escape(title)}</h1><p class="note">{html.escape(lead)}</p><div class="tiles">{top}</div>{body}'
        f"</main></body></html>\n"
    )
