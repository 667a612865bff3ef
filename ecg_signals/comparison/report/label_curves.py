"""Curves of models on the most frequent labels."""

from collections.abc import Sequence

import numpy as np

from ecg_signals.comparison.report.content import Answers, Entry, Section, positives
from ecg_signals.evaluation.report.charts import STYLES, Axis, Line, chart, charts, legend
from ecg_signals.evaluation.report.page import note
from ecg_signals.metrics.curves import calibration_curve, pr_curve, roc_curve

DRAWN = 4  # labels that curves are drawn of
POINTS = 60  # of a curve
LEAST = 5  # records of a dot of a calibration curve

SHARE = (0.0, 1.0)
SIZE = (360, 300)


def shown(section: Section) -> list[Entry]:
    """Whose curves are drawn: every model in its best protocol, the best ones of many models."""
    return section.by_model[:STYLES]


def whose(section: Section, about: str = "") -> str:
    """A legend of `shown`, and what it leaves out, behind what else there is to say."""
    entries, models = shown(section), {entry.row["model"] for entry in section.full}
    left = f" The {len(entries)} best of {len(models)} models." if len(models) > len(entries) else ""
    keys = legend((entry.name, style) for style, entry in enumerate(entries))
    return f'<div class="keys">{keys}</div>' + note(f"{about}Every model in the protocol in which it tests best.{left}")


def ordered(entry: Entry) -> list[str]:
    """Labels by how many test records have them."""
    return sorted(entry.one.labels, key=lambda label: -positives(entry, label)[0])


def curves(section: Section) -> str:
    """ROC, precision over recall, and calibration of the labels that most test records have."""
    entries = shown(section)
    labels = [label for label in ordered(entries[0]) if min(positives(entries[0], label)) > 0][:DRAWN]
    drawn = "".join(charts(_three(label, entries), narrow=True) for label in labels)
    about = (
        f"The {len(labels)} labels that most test records have, first seed. Dotted: chance, and perfect calibration; "
        f"a dot stands for {LEAST} records or more. "
    )
    return f"<h3>ROC, precision over recall, calibration</h3>{whose(section, about)}{drawn}" if labels else ""


def _three(label: str, entries: Sequence[Entry]) -> list[str]:
    columns = [
        (style, entry.name, *column(entry.one, label))
        for style, entry in enumerate(entries)
        if label in entry.one.labels
    ]
    roc = [Line(name, *roc_curve(truth, scores, POINTS)[:2], style) for style, name, truth, scores in columns]
    precision = [Line(name, *pr_curve(truth, scores, POINTS)[:2], style) for style, name, truth, scores in columns]
    bins = [Line(name, *_bins(truth, scores), style, "with") for style, name, truth, scores in columns]
    found, alarms, recall = Axis("sensitivity", SHARE), Axis("1 − specificity", SHARE), Axis("recall", SHARE)
    right, said = Axis("share of positives", SHARE), Axis("probability", SHARE)
    held = Axis(f"{positives(entries[0], label)[0]:,} positive", SHARE)
    return [
        chart(f"{label}: ROC", found, roc, alarms, diagonal=True, keys=False, size=SIZE),
        chart(f"{label}: precision", held, precision, recall, keys=False, size=SIZE),
        chart(f"{label}: calibration", right, bins, said, diagonal=True, keys=False, size=SIZE),
    ]


def _bins(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    probability, share, count = calibration_curve(truth, scores)
    return probability[count >= LEAST], share[count >= LEAST]


def column(answers: Answers, label: str) -> tuple[np.ndarray, np.ndarray]:
    """[records] targets and scores."""
    place = answers.labels.index(label)
    return answers.targets[:, place], answers.scores[:, place]
