"""One self-contained HTML page: tiles, sections, a table of labels, the most probable labels of one record."""

import html
from collections.abc import Sequence
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
