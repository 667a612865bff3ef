"""Pictures: a record as on ECG paper, and beside it what a model says about it."""

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.inference.predict import Prediction
from ecg_signals.signal.leads import LEADS, order_leads
from ecg_signals.signal.record import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GRID = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))  # the usual printout
RHYTHM = "II"  # the lead of the strip below
SHEET_SECONDS, COLUMN_SECONDS = 10.0, 2.5
INCH_PER_SECOND, INCH_PER_MV = 25 / 25.4, 10 / 25.4  # the usual 25 mm/s and 10 mm/mV
PAPER, FINE, COARSE, INK = "#fffafa", "#f9e1df", "#efbdb8", "#202020"
BAR, MISSING = "#2b6cb0", "#b03030"
MARGIN = 0.35  # inches around a sheet
PULSE = 0.5  # seconds in front of the traces, for the 1 mV pulse
SHOWN_LABELS = 12


@dataclass
class Strip:
    """One trace: `signal` [samples] in mV from `start` seconds on, in row `row` of the sheet."""

    lead: str
    row: int
    start: float
    signal: np.ndarray


def plot_record(record: Record, title: str | None = None) -> "Figure":
    """The first 10 s of a record as on paper: 25 mm/s, 10 mm/mV, 2.5 s of every lead and 10 s of lead II.

    A record shorter than 10 s shows the same time in all columns; one with other leads than the standard twelve has a
    row per lead. A missing lead leaves its place empty. Needs no display: figure.savefig("ecg.png").
    """
    strips = list(_strips(record))
    figure, axes = _sheet(strips, _seconds(record), extra=0.0)
    _draw(axes, strips, record, title)
    return figure


def plot_prediction(record: Record, prediction: Prediction, title: str | None = None) -> "Figure":
    """The record, and below it the labels with the highest probabilities; a thin line spans the single windows."""
    shown = sorted(prediction.probabilities.items(), key=lambda item: -item[1])[:SHOWN_LABELS]
    strips = list(_strips(record))
    height = 0.24 * len(shown) + 0.75
    figure, axes = _sheet(strips, _seconds(record), extra=height)
    _draw(axes, strips, record, title)
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
    Raises: ConfigError if `folder` cannot be written.
    """
    from ecg_signals.readers.read import read_record

    paths: list[Path] = []
    for prediction in predictions:
        if prediction.error:
            continue
        name = Path(prediction.record).name
        path, number = folder / f"{name}.png", 1
        while path in paths:
            path, number = folder / f"{name}_{number + 1}.png", number + 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are told with the prediction
            figure = plot_prediction(read_record(prediction.record, **reading), prediction, prediction.record)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            figure.savefig(path)
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror or error}; give --plot another folder") from None
        paths.append(path)
    return paths


def _seconds(record: Record) -> float:
    return min(record.signal.shape[1] / record.sample_rate, SHEET_SECONDS)


def _strips(record: Record) -> Iterator[Strip]:
    """The traces of the sheet; times are those of the sheet."""
    rate, seconds = record.sample_rate, _seconds(record)
    if not {lead.lower() for lead in record.leads} <= {lead.lower() for lead in LEADS}:
        for row, lead in enumerate(record.leads):
            yield Strip(lead, row, 0.0, record.signal[row, : round(seconds * rate)])
        return
    signal = order_leads(record.signal, record.leads, LEADS)
    whole = seconds >= SHEET_SECONDS
    width = COLUMN_SECONDS if whole else min(seconds, COLUMN_SECONDS)
    for row, leads in enumerate(GRID):
        for column, lead in enumerate(leads):
            begin = column * width if whole else 0.0
            part = signal[LEADS.index(lead), round(begin * rate) : round((begin + width) * rate)]
            yield Strip(lead, row, column * width, part)
    yield Strip(RHYTHM, len(GRID), 0.0, signal[LEADS.index(RHYTHM), : round(seconds * rate)])


def _rows(strips: Sequence[Strip]) -> list[tuple[float, float]]:
    """(top, baseline) of every row in mV, from 0 downwards: room for most of its traces, 1.2 to 7 mV per row."""
    rows, top = [], 0.0
    for row in range(max(strip.row for strip in strips) + 1):
        seen = [strip.signal for strip in strips if strip.row == row and np.isfinite(strip.signal).any()]
        spans = [np.nanpercentile(signal, (0.3, 99.7)) - np.nanmedian(signal) for signal in seen]
        up = min(3.5, max([1.0, *(high for _, high in spans)]) + 0.25)
        down = min(3.5, max([0.6, *(-low for low, _ in spans)]))
        rows.append((top, top - up))
        top -= up + down
    return [*rows, (top, top)]


def _sheet(strips: Sequence[Strip], seconds: float, extra: float) -> "tuple[Figure, Axes]":
    """A figure with the paper at its top and `extra` inches below it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MultipleLocator

    right = max(max(strip.start for strip in strips) + COLUMN_SECONDS, seconds)
    right = math.ceil(right * 5 - 1e-6) / 5 + 0.2
    bottom = math.floor(_rows(strips)[-1][0] * 2) / 2 - 0.2
    width, height = (right + PULSE) * INCH_PER_SECOND, (0.2 - bottom) * INCH_PER_MV
    total = (width + 2 * MARGIN, height + 2 * MARGIN + 0.2 + extra)
    figure = Figure(figsize=total, dpi=110, facecolor="white")
    FigureCanvasAgg(figure)
    box = (MARGIN / total[0], (extra + MARGIN) / total[1], width / total[0], height / total[1])
    axes = figure.add_axes(box, facecolor=PAPER)
    axes.set(xlim=(-PULSE, right), ylim=(bottom, 0.2))
    for axis, fine, coarse in ((axes.xaxis, 0.04, 0.2), (axes.yaxis, 0.1, 0.5)):
        axis.set_minor_locator(MultipleLocator(fine))
        axis.set_major_locator(MultipleLocator(coarse))
        axis.grid(True, which="minor", color=FINE, linewidth=0.4)
        axis.grid(True, which="major", color=COARSE, linewidth=0.6)
        axis.set_tick_params(which="both", length=0, labelleft=False, labelbottom=False)
    for side in axes.spines.values():
        side.set_color(COARSE)
    axes.set_axisbelow(True)
    return figure, axes


def _draw(axes: "Axes", strips: Sequence[Strip], record: Record, title: str | None) -> None:
    rows = _rows(strips)
    pulse = np.array([[-0.42, 0], [-0.34, 0], [-0.34, 1], [-0.14, 1], [-0.14, 0], [-0.06, 0]])
    for _, level in rows[:-1]:
        axes.plot(pulse[:, 0], pulse[:, 1] + level, color=INK, linewidth=0.8)
    for strip in strips:
        top, level = rows[strip.row]
        empty = not np.isfinite(strip.signal).any()
        name, color = (f"{strip.lead} missing", MISSING) if empty else (strip.lead, INK)
        behind = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 0.8}
        axes.text(strip.start + 0.04, top, name, fontsize=9, fontweight="bold", color=color, va="top", bbox=behind)
        if strip.start:
            axes.plot([strip.start] * 2, [level - 0.25, level + 0.25], color=INK, linewidth=0.9, alpha=0.5)
        if not empty:
            times = strip.start + np.arange(len(strip.signal)) / record.sample_rate
            axes.plot(times, strip.signal - np.nanmedian(strip.signal) + level, color=INK, linewidth=0.85)
    seconds = record.signal.shape[1] / record.sample_rate
    shown = f"first {SHEET_SECONDS:g} of {seconds:g} s" if seconds > SHEET_SECONDS else f"{seconds:g} s"
    axes.set_title(title or "", loc="left", fontsize=11, fontweight="bold", color=INK)
    note = f"{shown}, {record.sample_rate:g} Hz, 25 mm/s, 10 mm/mV"
    axes.set_title(note, loc="right", fontsize=8, color="#606060")


def _bars(axes: "Axes", shown: Sequence[tuple[str, float]], prediction: Prediction) -> None:
    places = np.arange(len(shown))[::-1]
    values = [value for _, value in shown]
    axes.barh(places, values, height=0.62, color=BAR, alpha=0.85)
    for place, (name, value) in zip(places, shown):
        every = [window["probabilities"][name] for window in prediction.windows]
        if len(every) > 1:
            axes.plot([min(every), max(every)], [place, place], color=INK, linewidth=1.1, solid_capstyle="butt")
        axes.text(max([value, *every]) + 0.012, place, f"{value:.2f}", va="center", fontsize=9, color=INK)
    axes.set(xlim=(min(0.0, *values), max(1.0, *values)), ylim=(-0.6, len(shown) - 0.4))
    axes.set_yticks(places, [name for name, _ in shown], fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8, color="#909090", labelcolor="#606060")
    count = len(prediction.windows)
    axes.set_xlabel(f"probability, {count} window{'s' if count != 1 else ''}", fontsize=9, color="#606060")
    axes.grid(True, axis="x", color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
