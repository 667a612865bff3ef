"""Tables of whole models: leaderboards, and the best against the others."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from ecg_signals.comparison.report.content import NAMES, Entry, Section, count, number, plus_minus
from ecg_signals.comparison.report.differences import MOST, differences, rounds_for
from ecg_signals.evaluation.report.charts import interval_bar
from ecg_signals.evaluation.report.page import note, table
from ecg_signals.metrics.logits import VALUES

BESIDE = (  # further metrics
    "rmse", "r2", "auprc", "fmax", "f2", "g2", "cinc_score", "exact_match", "ece", "brier", "balanced_accuracy",
    "merl_reported", "merl_val", "merl_fixed",
)  # fmt: skip


def glance(sections: Sequence[Section]) -> str:
    """The best of every benchmark."""
    head = ("benchmark", "best value ± deviation of seeds#", "95 % interval#", "by", "seeds#", "test records#",
            "best published#")  # fmt: skip
    rows = []
    for place, section in enumerate(sections):
        entry = section.entries[0]
        known = [row["value"] for row in section.published if row["metric"] == section.lead]
        best = max if section.metric.higher_is_better else min
        rows.append(("", (
            f'<a href="#s{place + 1}">{html.escape(section.title)}</a><br><small>{section.lead_name}</small>',
            value_of(entry, section), interval_of(entry, section), named(entry.row),
            str(entry.row["seeds"]), f"{entry.first['counts']['test']:,}", number(best(known, default=None)),
        )))  # fmt: skip
    return f'<div class="card">{table(head, rows)}</div>'


def leaderboard(section: Section) -> str:
    """Every model under every protocol, smaller parts of the training data in a part that opens."""
    largest = section.entries[0].row["fraction"]
    full, part = ([e for e in section.entries if (e.row["fraction"] == largest) is whole] for whole in (True, False))
    said = f"{count(len(part), 'row')} with less training data"
    smaller = f"<details><summary>{said}</summary>{_board(section, part)}</details>" if part else ""
    return f'<div class="card">{_board(section, full)}{_below(section)}</div>{smaller}'


def _board(section: Section, entries: Sequence[Entry]) -> str:
    reach = [number for e in entries if e.value is not None for number in (e.value, *(e.row["interval"] or ()))]
    span = (min(reach, default=0.0), max(reach, default=1.0))
    beside = [name for name in BESIDE if any(entry.row["mean"].get(name) is not None for entry in entries)]
    better = "highest" if section.metric.higher_is_better else "lowest"
    head = ("model, protocol", f"{section.lead_name} ± deviation of seeds#", "95 % interval#", "",
            *(f"{NAMES.get(name, name)}#" for name in beside), "seeds#", "training records#",
            *(["undefined labels#"] if section.kind != VALUES else []))  # fmt: skip
    rows = []
    for place, entry in enumerate(entries):
        drawn = "" if entry.value is None else interval_bar(entry.value, entry.row["interval"], span)
        rows.append(("best" if place == 0 and entry.value is not None else "", (
            named(entry.row), value_of(entry, section), interval_of(entry, section), drawn,
            *(number(entry.row["mean"].get(name)) for name in beside), str(entry.row["seeds"]),
            f"{entry.training_records:,}" if entry.trained else "–",
            *([str(len(entry.row["undefined"]))] if section.kind != VALUES else []),
        )))  # fmt: skip
    return table(head, rows, f"{section.title}: {section.lead_name}, {better} first")


def _below(section: Section) -> str:
    answers = section.entries[0].one
    undefined = list(dict.fromkeys(label for entry in section.entries for label in entry.row["undefined"]))
    drawn = f"{count(len(answers.ids), 'test record')} of unknown patients; records"
    if answers.patients:
        drawn = f"{count(len(answers.ids), 'test record')} of {count(answers.patients, 'patient')}; patients"
    text = (f"±: standard deviation of the seeds' values, of the training. 95 % interval: of the mean over seeds, by "
            f"the bootstrap over the {drawn} are drawn with replacement.")  # fmt: skip
    if section.kind != VALUES:
        defined = count(len(answers.labels) - len(undefined), "label")
        text += f" Macro: the plain mean over the {defined} that define a value."
    without = section.entries[0].row["baselines"]
    if without:
        values = (f"{name} {number(scores.get(section.lead), section.decimals)}" for name, scores in without.items())
        text += f" <b>Without a model</b>: {html.escape(', '.join(values))}; one that is no better is of no use."
    if undefined:
        text += " <b>Undefined, and in no mean</b>, since all test records have them or none has: "
        text += f"{html.escape(', '.join(undefined))}."
    return note(text)


def best_against_others(section: Section, rounds: int) -> str:
    """Whether the best one is distinguishable; "" of a single one, or without rounds."""
    if len(section.full) < 2 or not rounds:
        return ""
    rounds, best = rounds_for(section, rounds), section.full[0]
    rows = []
    for other, found in differences(section, rounds):
        if found is None:
            rows.append(("", (named(other.row), "–", "–", "not compared: other labels or seeds")))
            continue
        ahead = (found.value > 0) == section.metric.higher_is_better
        said = "not distinguishable" if not found.clear else "<b>better</b>" if ahead else "<b>worse</b>"
        value, low, high = (_signed(end, section.decimals) for end in (found.value, found.low, found.high))
        rows.append(("", (named(other.row), value, f"{low} to {high}", said)))
    head = ("the best against", "difference#", "95 % interval#", "the best one is")
    more = f" The first {MOST} of {len(section.full) - 1} others." if len(section.full) - 1 > MOST else ""
    return (
        f'<h3>Is the best one better?</h3><div class="card">{table(head, rows, f"Best: {best.name}")}'
        + note(f"Paired bootstrap, {rounds} rounds: both answer to the same resampled patients, over seeds that "
               f"both have. An interval that holds 0 does not tell the two apart. The best was picked by these very "
               f"test values, which favours it, and no allowance is made for several comparisons.{more}")
        + "</div>"
    )  # fmt: skip


def _signed(value: float, decimals: int) -> str:
    return ("+" if value > 0 else "") + number(value, decimals)


def value_of(entry: Entry, section: Section) -> str:
    return f"<b>{plus_minus(entry.value, entry.deviation, section.decimals)}</b>"


def interval_of(entry: Entry, section: Section) -> str:
    ends = entry.row["interval"]
    return " to ".join(number(end, section.decimals) for end in ends) if ends else "–"


def named(row: Mapping[str, Any]) -> str:
    """A cell with a model and below it the protocol."""
    return f'<div class="text">{html.escape(row["model"])}<br><small>{html.escape(row["protocol"])}</small></div>'
