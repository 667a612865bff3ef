"""Models that predict numbers: tables, and predictions beside the truth."""

import html
from collections.abc import Iterator

import numpy as np

from ecg_signals.comparison.report.content import Answers, Section, count, number
from ecg_signals.comparison.report.labels import of_label
from ecg_signals.evaluation.report.charts import Axis, Line, chart, charts
from ecg_signals.evaluation.report.page import note, table

DOTS = 500  # of a chart
SIZE = (480, 360)


def value_tables(section: Section) -> str:
    """Errors of every value by every model and protocol."""
    head = ("value", "model, protocol", "mean absolute error#", "R²#", "bias#", "standard deviation of errors#")
    rows = []
    for entry in section.full:
        for place, label in enumerate(entry.one.labels):
            errors = [one.scores[:, place] - one.targets[:, place] for one in entry.answers.values()]
            means = (float(np.mean([of(error) for error in errors])) for of in (np.nanmean, np.nanstd))
            rows.append(("", (
                html.escape(label), html.escape(entry.name), number(of_label(entry, label, "mae")[0], 2),
                number(of_label(entry, label, "r2")[0]), *(number(value, 2) for value in means),
            )))  # fmt: skip
    about = note("Means over seeds, in the units of the benchmark; bias: prediction less truth.")
    return f'<h3>Errors</h3><div class="card">{table(head, rows)}{about}</div>'


def scatter(section: Section) -> str:
    """Predictions of the best model over the truth, and their differences over their means."""
    one = section.full[0].one
    known = np.flatnonzero(~np.isnan(one.targets).all(axis=0)).tolist()
    drawn = [figure for place in known for figure in _pair(one, place)]
    about = f"{html.escape(section.full[0].name)}, first seed, {count(min(len(one.ids), DOTS), 'test record')}."
    return f"<h3>Predictions of the best model</h3>{note(f'{about} Dotted: prediction equals truth.')}{charts(drawn)}"


def _pair(answers: Answers, place: int) -> Iterator[str]:
    """Of one value. Source of the second: Bland and Altman 1986, doi:10.1016/S0140-6736(86)90837-8."""
    known = ~np.isnan(answers.targets[:, place])
    label, truth, found = answers.labels[place], answers.targets[known, place], answers.scores[known, place]
    kept = np.unique(np.linspace(0, len(truth) - 1, min(len(truth), DOTS)).astype(int))
    ends = (float(np.nanmin((truth, found))), float(np.nanmax((truth, found))))
    dots = Line("", truth[kept], found[kept], 0, "only")
    yield chart(f"{label}: prediction over truth", Axis("prediction", ends), [dots], Axis("truth", ends),
                diagonal=True, size=SIZE)  # fmt: skip
    errors, middle = found - truth, (truth + found) / 2
    bias, half = float(np.nanmean(errors)), 1.96 * float(np.nanstd(errors))
    named = ((f"bias {number(bias, 2)}", bias, 1), ("± 1.96 deviations", bias - half, 2), ("", bias + half, 2))
    across = (float(np.nanmin(middle)), float(np.nanmax(middle)))
    levels = [Line(name, across, (value, value), style) for name, value, style in named]
    dots = Line("", middle[kept], errors[kept], 0, "only")
    yield chart(f"{label}: Bland–Altman", Axis("prediction − truth"), [dots, *levels],
                Axis("mean of prediction and truth"), size=SIZE)  # fmt: skip
