"""Published numbers beside ours, and what keeps the two from being compared."""

import html
from collections.abc import Iterator, Sequence

from ecg_signals.comparison.report.content import NAMES, Entry, Section, count, plus_minus
from ecg_signals.comparison.report.leaderboard import named
from ecg_signals.evaluation.benchmarks.published import TEST_RECORDS
from ecg_signals.evaluation.report.page import table

LOWER = ("mae", "rmse", "mse")  # metrics of which the lowest is the best


def published(section: Section) -> str:
    """Ours among the numbers of papers, and why they may not be compared; "" where none is known."""
    if not section.published:
        return ""
    metrics = dict.fromkeys(row["metric"] for row in section.published)
    tables = "".join(_merged(section, metric) for metric in sorted(metrics, key=lambda name: name != section.lead))
    reasons = "".join(f"<li>{html.escape(reason)}</li>" for reason in unlike(section))
    return (
        f'<h3>Published numbers beside ours</h3><div class="card">{tables}'
        f'<div class="note"><b>What to mind before comparing ours (shaded) with theirs:</b><ul>{reasons}</ul></div>'
        f"</div>"
    )


def _merged(section: Section, metric: str) -> str:
    """Best first, whoever made it."""
    rows = [
        (row["value"], ("", (named(row), plus_minus(row["value"], row["spread"]), _source(row["source"]))))
        for row in section.published if row["metric"] == metric
    ]  # fmt: skip
    for entry in section.full:
        value, deviation = (entry.row[of].get(metric) for of in ("mean", "std"))
        if value is not None:
            cells = (named(entry.row), f"<b>{plus_minus(value, deviation)}</b>", "this report; ± deviation of seeds")
            rows.append((value, ("ours", cells)))
    sign = 1 if metric in LOWER else -1
    ordered = [row for _, row in sorted(rows, key=lambda one: sign * one[0])]
    return table(("model, protocol", f"{NAMES.get(metric, metric)}#", "source"), ordered)


def _source(text: str) -> str:
    return f'<div class="text">{html.escape(text)}</div>'


def unlike(section: Section) -> Iterator[str]:
    """In what the runs differ from published ones."""
    stated = section.full[0].first.get("comparable")
    if stated:
        yield f"The benchmark: {stated}."
    tested, known = section.full[0].first["counts"]["test"], TEST_RECORDS.get(section.benchmark)
    if known and abs(tested - known) > 0.05 * known:
        yield (f"Another test set: {tested:,} records here, about {known:,} in the published benchmark. Ours are not "
               f"comparable; they show that the runs work.")  # fmt: skip
    elif not known:
        yield f"Ours were tested on {tested:,} records; whether these are the papers' records is not checked."
    trained = [entry for entry in section.full if entry.trained]
    if trained:
        records, updates = (sorted({of(entry) for entry in trained}) for of in (_records_of, updates_of))
        yield f"Ours were trained on {_range(records, 'record')}, for {_range(updates, 'update')}."
    if len(trained) < len(section.full):
        yield "What a model that was tested as it is has learned from is not known here: test records, perhaps."
    passes = max(map(passes_of, trained), default=None)
    if passes is not None and passes < 5:
        yield f"That is {passes:.2g} passes over these at most; papers make 20 to 100. Ours are hardly trained."
    yield ("Papers differ among themselves in the version of the data, windows, how windows are joined, and in what "
           "selects a state; the settings of every run of ours are below.")  # fmt: skip
    if any("bootstrap" in row["source"] for row in section.published):
        yield "± is not one thing: ours are deviations over seeds; each source says what theirs are."


def _range(values: Sequence[int], thing: str) -> str:
    ends = count(values[-1], thing) if values else f"no {thing}"
    return ends if len(values) < 2 else f"{values[0]:,} to {ends}"


def _records_of(entry: Entry) -> int:
    return entry.training_records


def updates_of(entry: Entry) -> int:
    """Made by the first seed."""
    return max((row["update"] for row in entry.first["curve"]), default=0)


def passes_of(entry: Entry) -> float:
    """Over the training records, in the first seed."""
    recipe = entry.first["settings"]["recipe"]
    every = (recipe.get("optimization") or {}).get("update_freq") or 1
    batch = (recipe.get("dataset") or {}).get("batch_size") or 1
    return float(updates_of(entry) * batch * (every[0] if isinstance(every, list) else every) / entry.training_records)
