"""Pictures: a record as on ECG paper, and beside it what a model says about it."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ecg_signals.files import replacing
from ecg_signals.inference.predict import Prediction
from ecg_signals.limits import name_below
from ecg_signals.signal.record import Record
from ecg_signals.signal.sheet import MM_PER_MV, MM_PER_SECOND, PULSE_SECONDS, Sheet, lay_out

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MM = 1 / 25.4  # inches
PAPER, FINE, COARSE, INK = "#fffafa", "#f9e1df", "#efbdb8", "#202020"
BAR, MISSING = "#2b6cb0", "#b03030"
MARGIN, TITLE = 0.35, 0.2  # inches around a sheet, and for what stands above it
SHOWN_LABELS = 12  # bars, the most probable ones


def plot_record(record: Record, title: str | None = None) -> "Figure":
    """The first 10 s of a record as on paper, laid out by `sheet.lay_out`: 25 mm/s, and 10 mm/mV where that fits.

    A taller trace is never cut: the gain of the sheet falls, which the line above it says. Traces are drawn about their
    medians. A missing lead leaves its place empty. Needs no display: figure.savefig("ecg.png").
    """
    sheet = lay_out(record)
    figure, axes = _paper(sheet, extra=0.0)
    _draw(axes, sheet, title)
    return figure


def plot_prediction(record: Record, prediction: Prediction, title: str | None = None) -> "Figure":
    """The record, and below it the labels with the highest probabilities; a thin line spans the single windows."""
    shown = sorted(prediction.probabilities.items(), key=lambda item: -item[1])[:SHOWN_LABELS]
    sheet = lay_out(record)
    height = 0.24 * len(shown) + 0.75
    figure, axes = _paper(sheet, extra=height)
    _draw(axes, sheet, title)
    width = figure.get_size_inches()[0]
    names = 0.085 * max(len(name) for name, _ in shown) + 0.2  # inches that the longest name takes
    left = MARGIN + min(names, 0.45 * width)
    box = (left / width, 0.45 / figure.get_size_inches()[1])
    size = (1 - box[0] - 0.8 / width, (height - 0.65) / figure.get_size_inches()[1])
    _bars(figure.add_axes((*box, *size)), shown, prediction)
    return figure


def save_pictures(predictions: Sequence[Prediction], folder: Path, **reading: Any) -> list[Path]:
    """A picture of each record that has a prediction: `folder`/<name of the record>.png, numbered where names repeat.

    Args:
        reading: options of `read_record` with which the records were read.
    Raises: CannotWrite if `folder` cannot be written.
    """
    from ecg_signals.readers.read import read_record

    paths: list[Path] = []
    taken: set[str] = set()  # in one case: some disks know no other
    for prediction in predictions:
        if prediction.error:
            continue
        name, number = name_below(Path(prediction.record).name), 1
        path = folder / f"{name}.png"
        while str(path).casefold() in taken:
            path, number = folder / f"{name}_{number + 1}.png", number + 1
        taken.add(str(path).casefold())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are told with the prediction
            figure = plot_prediction(read_record(prediction.record, **reading), prediction, prediction.record)
        with replacing(path, advice="Give --plot another folder") as partial:
            figure.savefig(partial, format="png")
        paths.append(path)
    return paths


def _paper(sheet: Sheet, extra: float) -> "tuple[Figure, Axes]":
    """A figure with the paper at its top and `extra` inches below it; the axes count seconds and mV."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MultipleLocator

    width, height = sheet.width * MM, sheet.height * MM
    total = (width + 2 * MARGIN, height + 2 * MARGIN + TITLE + extra)
    figure = Figure(figsize=total, dpi=110, facecolor="white")
    FigureCanvasAgg(figure)
    box = (MARGIN / total[0], (extra + MARGIN) / total[1], width / total[0], height / total[1])
    axes = figure.add_axes(box, facecolor=PAPER)
    end = sheet.width / MM_PER_SECOND - PULSE_SECONDS
    axes.set(xlim=(-PULSE_SECONDS, end), ylim=(-sheet.height / sheet.gain, 0.0))
    for axis, scale in ((axes.xaxis, MM_PER_SECOND), (axes.yaxis, sheet.gain)):
        axis.set_minor_locator(MultipleLocator(1 / scale))  # a thin line per mm, a thick one per 5 mm
        axis.set_major_locator(MultipleLocator(5 / scale))
        axis.grid(True, which="minor", color=FINE, linewidth=0.4)
        axis.grid(True, which="major", color=COARSE, linewidth=0.6)
        axis.set_tick_params(which="both", length=0, labelleft=False, labelbottom=False)
    for side in axes.spines.values():
        side.set_color(COARSE)
    axes.set_axisbelow(True)
    return figure, axes


def _draw(axes: "Axes", sheet: Sheet, title: str | None) -> None:
    pulse = np.array([[-0.42, 0], [-0.34, 0], [-0.34, 1], [-0.14, 1], [-0.14, 0], [-0.06, 0]])
    for row in sheet.rows:
        axes.plot(pulse[:, 0], pulse[:, 1] * sheet.pulse - row.baseline / sheet.gain, color=INK, linewidth=0.8)
    for strip in sheet.strips:
        row = sheet.rows[strip.row]
        level = -row.baseline / sheet.gain
        name, color = (f"{strip.lead} missing", MISSING) if strip.empty else (strip.lead, INK)
        place = (strip.start + 0.04, -row.top / sheet.gain)
        axes.text(*place, name, fontsize=9, fontweight="bold", color=color, va="top", parse_math=False)
        if strip.start:
            ends = [level - 2.5 / sheet.gain, level + 2.5 / sheet.gain]
            axes.plot([strip.start] * 2, ends, color=INK, linewidth=0.9, alpha=0.5)
        if not strip.empty:
            axes.plot(sheet.times(strip), strip.signal + level, color=INK, linewidth=0.85)
    if title:
        room = max(8, int((sheet.width * MM - 0.062 * len(sheet.note)) / 0.095))  # characters left of the note
        shown = title if len(title) <= room else f"…{title[1 - room :]}"
        axes.set_title(shown, loc="left", fontsize=11, fontweight="bold", color=INK, parse_math=False)
    color = "#606060" if sheet.gain == MM_PER_MV else MISSING
    axes.set_title(sheet.note, loc="right", fontsize=8, color=color)


def _bars(axes: "Axes", shown: Sequence[tuple[str, float]], prediction: Prediction) -> None:
    places = np.arange(len(shown))[::-1]
    values = [value for _, value in shown]
    axes.barh(places, values, height=0.62, color=BAR, alpha=0.85)
    every = {name: [window["probabilities"][name] for window in prediction.windows] for name, _ in shown}
    for place, (name, value) in zip(places, shown):
        span = [min([value, *every[name]]), max([value, *every[name]])]
        if len(every[name]) > 1:
            axes.plot(span, [place, place], color=INK, linewidth=1.1, solid_capstyle="butt")
        text: dict[str, Any] = {"xytext": (5, 0), "textcoords": "offset points", "va": "center", "fontsize": 9}
        axes.annotate(f"{value:.2f}", (max(0.0, span[1]), place), color=INK, **text)
    drawn = [value for span in (values, *every.values()) for value in span]
    axes.set(xlim=(min(0.0, *drawn), max(1.0, *drawn)), ylim=(-0.6, len(shown) - 0.4))
    axes.set_yticks(places, [name for name, _ in shown], fontsize=9, parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8, color="#909090", labelcolor="#606060")
    count = len(prediction.windows)
    said = "; ".join([f"probability, {count} window{'s' if count != 1 else ''}", *prediction.notes])
    axes.set_xlabel(said, fontsize=9, color="#606060", parse_math=False)
    axes.grid(True, axis="x", color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
