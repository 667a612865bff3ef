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

Series = tuple[str, Sequence[float], Sequence[float]]  # name, x, y

GRID = [["I", "aVR", "V1", "V4"], ["II", "aVL", "V2", "V5"], ["III", "aVF", "V3", "V6"]]  # the usual 3 x 4 printout
MM_PER_SECOND, MM_PER_MV = 25, 10  # the usual paper speed and gain


@dataclass
class LabelScore:
    """One row of the table; auroc and auprc are None where the test split holds a single class."""

    name: str
    meaning: str
    train: int  # training records with the label
    test: int  # test segments with it
    auroc: float | None
    auprc: float | None


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


def chart(title: str, y_name: str, series: Iterable[Series], width: int = 540, height: int = 270) -> str:
    """A line chart as inline SVG."""
    series = [(name, np.asarray(x), np.asarray(y)) for name, x, y in series if len(x)]
    left, right, top, bottom = 54, 12, 14, 40
    across = ticks(0, max(float(x.max()) for _, x, _ in series))
    up = ticks(min(float(y.min()) for *_, y in series), max(float(y.max()) for *_, y in series), 4)

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
    """Ten seconds as on paper: four columns of three leads, 2.5 s each, and lead II below. SVG in millimetres."""
    rate, seconds = record.sample_rate, 10.0
    row_height, width = 30.0, seconds * MM_PER_SECOND
    height = row_height * 4 + 6
    lead = {name: np.nan_to_num(record.signal[k]) for k, name in enumerate(record.leads)}

    def trace(name: str, start: float, length: float, row: int, label: str) -> str:
        part = lead[name][round(start * rate) : round((start + length) * rate)]
        x = start * MM_PER_SECOND + np.arange(len(part)) / rate * MM_PER_SECOND
        middle = row_height * (row + 0.5) + 3
        y = np.clip(middle - part * MM_PER_MV, middle - 17, middle + 17)
        points = " ".join(f"{a:.2f},{b:.2f}" for a, b in zip(x, y))
        text = f'<text x="{start * MM_PER_SECOND + 1.5:.1f}" y="{middle - 9:.1f}">{label}</text>'
        return f'<polyline points="{points}"/>{text}'

    body = [
        trace(name, column * seconds / 4, seconds / 4, row, name)
        for row, names in enumerate(GRID)
        for column, name in enumerate(names)
    ]
    body.append(trace("II", 0.0, seconds, 3, "II"))
    lines = "".join(
        f'<pattern id="mm{size}" width="{size}" height="{size}" patternUnits="userSpaceOnUse">'
        f'<path d="M {size} 0 H 0 V {size}" class="paper" stroke-width="{thick}"/></pattern>'
        for size, thick in ((1, 0.08), (5, 0.2))
    )
    area = "".join(f'<rect width="{width}" height="{height}" fill="url(#mm{size})"/>' for size in (1, 5))
    return f'<svg class="ecg" viewBox="0 0 {width} {height}"><defs>{lines}</defs>{area}{"".join(body)}</svg>'


def label_table(scores: Sequence[LabelScore]) -> str:
    """Labels that the test split can measure, the others named below."""
    measured = sorted((s for s in scores if s.auroc is not None), key=lambda s: (-s.test, s.name))
    rows = "".join(
        f"<tr><td><b>{html.escape(s.name)}</b></td><td>{html.escape(s.meaning)}</td><td>{s.train}</td><td>{s.test}</td>"
        f'<td>{s.auroc:.3f}</td><td class="bar"><i style="width: {s.auroc:.0%}"></i></td>'
        f"<td>{s.auprc:.3f}</td></tr>"
        for s in measured
        if s.auroc is not None and s.auprc is not None
    )
    rest = ", ".join(html.escape(s.name) for s in scores if s.auroc is None)
    columns = ("label", "meaning", "train records", "test segments", "AUROC", "", "AUPRC")
    head = "".join(f"<th>{name}</th>" for name in columns)
    return (
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        f'<p class="note">Not measured, since the test split has no positive or no negative of them: {rest}.</p>'
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
