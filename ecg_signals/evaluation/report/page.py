"""One self-contained HTML page: tiles, sections, tables; of labels, and of the most probable ones of one record."""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


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


def table(head: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]], caption: str = "") -> str:
    """A table that scrolls by itself where it is wider than the page.

    Args:
        head: names of the columns; of numbers they end in "#", which aligns them.
        rows: a class and the cells, as HTML; the first one names the row.
        caption: for readers who do not see where it stands.
    """
    marks = [' class="n"' if name.endswith("#") else "" for name in head]
    names = "".join(f'<th scope="col"{mark}>{name.removesuffix("#")}</th>' for name, mark in zip(head, marks))
    lines = []
    for style, (first, *others) in rows:
        cells = "".join(f"<td{mark}>{cell}</td>" for cell, mark in zip(others, marks[1:]))
        lines.append(f'<tr{style and f" class={style}"}><th scope="row"{marks[0]}>{first}</th>{cells}</tr>')
    about = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    body = f"<thead><tr>{names}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return f'<div class="scroll"><table>{about}{body}</table></div>'


def bar(share: float) -> str:
    return f'<span class="bar"><i style="width: {share:.0%}"></i></span>'


def note(text: str) -> str:
    """A line of text below a heading, a table or a figure; `text` is HTML."""
    return f'<p class="note">{text}</p>'


def label_table(scores: Sequence[LabelScore], least: int) -> str:
    """Labels in the headline, then those with few test records, then the names of those without any.

    Args:
        least: positive and negative records that the headline asks for.
    """
    measured = sorted((s for s in scores if s.auroc is not None), key=lambda s: (s.interval is None, -s.test, s.name))
    head = ("label", "meaning", "train#", "test#", "AUROC#", "95 % interval#", "", "AUPRC#")
    rest = ", ".join(html.escape(s.name) for s in scores if s.auroc is None)
    return (
        table(head, map(_label_row, measured))
        + note(f"train, test: records with the label. Grey: fewer than {least} test records have it, or lack it; such "
               f"values say nothing, and the headline leaves them out. Intervals: bootstrap over patients.")
        + note(f"Not measured, since the test split has no positive or no negative of them: {rest}.")
    )  # fmt: skip


def _label_row(score: LabelScore) -> tuple[str, Sequence[str]]:
    assert score.auroc is not None
    span = "" if score.interval is None else f"{score.interval[0]:.2f} to {score.interval[1]:.2f}"
    return "few" if score.interval is None else "", (
        html.escape(score.name), html.escape(score.meaning), f"{score.train}", f"{score.test}", f"{score.auroc:.3f}",
        span, bar(score.auroc), f"{score.auprc:.3f}",
    )  # fmt: skip


def prediction_list(
    names: Sequence[str], probabilities: Sequence[float], truth: set[str], meanings: dict[str, str]
) -> str:
    """The most probable labels of one record, true ones marked."""
    rows = [
        ("", (html.escape(names[k]), "✓" if names[k] in truth else "", html.escape(meanings.get(names[k], "")),
              f"{probabilities[k]:.2f}", bar(probabilities[k])))
        for k in np.argsort(probabilities)[::-1][:6]
    ]  # fmt: skip
    missed = sorted(truth - {names[k] for k in np.argsort(probabilities)[::-1][:6]})
    also = note(f"Also true: {html.escape(', '.join(missed))}.") if missed else ""
    return table(("label", "true", "meaning", "probability#", ""), rows) + also


def page(title: str, lead: str, tiles: Sequence[tuple[str, str]], sections: Sequence[tuple[str, str]]) -> str:
    """The whole page; `sections` are (heading, html)."""
    top = "".join(f"<div><b>{html.escape(value)}</b><span>{html.escape(name)}</span></div>" for name, value in tiles)
    links = "".join(f'<a href="#s{k}">{html.escape(heading)}</a>' for k, (heading, _) in enumerate(sections))
    body = "".join(
        f'<section id="s{k}"><h2>{html.escape(heading)}</h2>{content}</section>'
        for k, (heading, content) in enumerate(sections)
    )
    style = (Path(__file__).parent / "style.css").read_text()
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head><body><main>'
        f'<h1>{html.escape(title)}</h1><p class="note">{html.escape(lead)}</p><nav>{links}</nav>'
        f'<div class="tiles">{top}</div>{body}</main></body></html>\n'
    )
