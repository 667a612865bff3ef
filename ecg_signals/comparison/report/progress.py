"""How models came to their results: validations during training, and results by the number of training records."""

from collections.abc import Iterator

from ecg_signals.comparison.report.content import NAMES, Entry, Section
from ecg_signals.comparison.report.label_curves import shown, whose
from ecg_signals.evaluation.report.charts import STYLES, Axis, Line, chart, charts
from ecg_signals.evaluation.report.page import note

POINTS = 120  # of a line


def learning_curves(section: Section) -> str:
    """Loss and the selecting score of validations; "" where nothing was trained."""
    entries = shown(section)
    drawn = []
    for key in ("loss", "metric"):
        lines = [line for style, entry in enumerate(entries) for line in _validations(entry, key, style)]
        score = entries[0].first["selection"]["metric"]
        name = NAMES.get(score, score) if key == "metric" else "loss"
        if lines and not (key == "metric" and score in ("loss", "last")):
            drawn.append(chart(f"Validation {name}", Axis("every seed a line"), lines, size=(480, 280), keys=False))
    return f"<h3>Learning curves</h3>{whose(section)}{charts(drawn)}" if drawn else ""


def _validations(entry: Entry, key: str, style: int) -> Iterator[Line]:
    for _, result in entry.results:
        rows = [row for row in result["curve"] if row.get(key) is not None]
        rows = rows[:: -(-len(rows) // POINTS) or 1]
        if rows:
            marks = "with" if len(rows) < 20 else ""
            yield Line(entry.name, [row["update"] for row in rows], [row[key] for row in rows], style, marks)


def label_efficiency(section: Section) -> str:
    """The leading metric by the number of training records; "" of a single number."""
    if len({entry.row["fraction"] for entry in section.entries}) < 2:
        return ""
    names = [entry.name for entry in section.full][:STYLES]
    lines = []
    for style, name in enumerate(names):
        own = [entry for entry in section.entries if entry.name == name and entry.value is not None]
        own.sort(key=lambda entry: entry.training_records)
        values = [entry.value or 0.0 for entry in own]
        lines.append(Line(name, [entry.training_records for entry in own], values, style, "with",
                          [entry.deviation or 0.0 for entry in own]))  # fmt: skip
    drawn = chart("Label efficiency", Axis(f"{section.lead_name} ± deviation of seeds"), lines,
                  Axis("training records", log=True), size=(480, 320))  # fmt: skip
    left = f" The {len(names)} best of {len(section.full)} rows." if len(section.full) > len(names) else ""
    return f"<h3>Results by the number of training records</h3>{charts([drawn])}{note(left) if left else ''}"
