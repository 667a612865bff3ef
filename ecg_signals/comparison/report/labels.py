"""Tables of models on single labels."""

import html

import numpy as np

from ecg_signals.comparison.report.content import Entry, Section, number, plus_minus, positives
from ecg_signals.comparison.report.label_curves import ordered, shown
from ecg_signals.evaluation.report.page import note, table

LONG = 30  # labels of a table that is closed at first
FEW = 10  # positive or negative test records, below which a value says little


def label_tables(section: Section) -> str:
    """AUROC of every label by every model, and all values of each model."""
    entries = shown(section)
    labels = entries[0].one.labels
    head = ("label", "positive#", "negative#", *(f"{html.escape(entry.name)}#" for entry in entries))
    rows = []
    for label in ordered(entries[0]):
        values = [of_label(entry, label, "auroc")[0] for entry in entries]
        largest = max((value for value in values if value is not None), default=None)
        cells = [f"<b>{number(value)}</b>" if value == largest else number(value) for value in values]
        counts = (f"{records:,}" for records in positives(entries[0], label))
        rows.append((_few(entries[0], label), (html.escape(label), *counts, *cells)))
    matrix = table(head, rows, "AUROC, mean over seeds; the largest of a label is bold") if len(entries) > 1 else ""
    parts = []
    for entry in entries:
        state = " open" if entry is entries[0] and len(labels) <= LONG else ""
        said = f"{html.escape(entry.name)}: all values of every label"
        parts.append(f"<details{state}><summary>{said}</summary>{_of_entry(entry)}</details>")
    below = note(
        f"positive, negative: test records. Grey: fewer than {FEW} of either, where a value says little. Chance: the "
        f"AUPRC of a model that knows nothing, the share of positives. ECE: mean distance of probability and share of "
        f"positives (15 bins); Brier: mean squared distance of probability and answer; both are 0 at best."
    )
    shown_matrix = f'<div class="card">{matrix}</div>' if matrix else ""
    return f"<h3>Every label</h3>{shown_matrix}{''.join(parts)}{below}"


def _of_entry(entry: Entry) -> str:
    head = ("label", "positive#", "AUROC ± deviation#", "AUPRC ± deviation#", "chance#", "ECE#", "Brier#")
    rows = []
    for label in ordered(entry):
        positive, negative = positives(entry, label)
        areas = (plus_minus(*of_label(entry, label, metric)) for metric in ("auroc", "auprc"))
        share = number(positive / (positive + negative) if positive + negative else None)
        errors = (number(of_label(entry, label, metric)[0]) for metric in ("ece", "brier"))
        rows.append((_few(entry, label), (html.escape(label), f"{positive:,}", *areas, share, *errors)))
    return table(head, rows)


def of_label(entry: Entry, label: str, metric: str) -> tuple[float | None, float | None]:
    """Mean and deviation over seeds."""
    values = [result["per_label"].get(label, {}).get(metric) for _, result in entry.results]
    known = [value for value in values if value is not None]
    return (float(np.mean(known)) if known else None), (float(np.std(known, ddof=1)) if len(known) > 1 else None)


def _few(entry: Entry, label: str) -> str:
    return "few" if min(positives(entry, label)) < FEW else ""
