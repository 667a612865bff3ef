"""A sheet as a matplotlib figure: for PNG, PDF and notebooks."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from ecg_signals.sheet.colours import FILLS, GRIDS, INK, PENS
from ecg_signals.sheet.paper import Box, Sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INCH = 25.4  # mm
POINT = 72 / INCH  # points per mm, in which matplotlib counts pens and fonts
SCREEN = 110  # dots per inch of a figure, unless it is saved with others


@contextmanager
def exact() -> Iterator[None]:
    """Matplotlib draws every point, whatever the user's settings are; they are back afterwards."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({"path.simplify": False, "pdf.fonttype": 42})
        yield


def figure(sheet: Sheet) -> "Figure":
    """The whole sheet in true size; needs no display: figure(sheet).savefig("ecg.pdf")."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with exact():
        made = Figure(figsize=(sheet.width / INCH, sheet.height / INCH), dpi=SCREEN, facecolor="white")
        FigureCanvasAgg(made)
        axes = made.add_axes((0, 0, 1, 1), xlim=(0, sheet.width), ylim=(sheet.height, 0))
        axes.axis("off")
        _grid(axes, sheet.grid, sheet.tint)
        for box in sheet.boxes:
            _rectangle(axes, box, FILLS[box.role])
        for line in sheet.lines:
            _stroke(axes, np.array(line.x), np.array(line.y), PENS[line.role], "miter")
        for trace in sheet.traces:
            _stroke(axes, trace.x, trace.y, PENS["trace"], "round")
        for text in sheet.texts:
            axes.text(
                text.x, text.y, text.words, fontsize=text.size * POINT * 0.92, color=INK, parse_math=False,
                fontweight="bold" if text.bold else "normal", ha="right" if text.end else "left", va="baseline",
            )  # fmt: skip
    return made


def _grid(axes: "Axes", grid: Box, tint: str) -> None:
    from matplotlib.collections import LineCollection

    paper, *colours = GRIDS[tint]
    _rectangle(axes, grid, paper)
    for step, pen, colour in ((1, PENS["fine"], colours[0]), (5, PENS["coarse"], colours[1])):
        across = [[(grid.x + x, grid.y), (grid.x + x, grid.bottom)] for x in range(0, round(grid.width) + 1, step)]
        down = [[(grid.x, grid.y + y), (grid.right, grid.y + y)] for y in range(0, round(grid.height) + 1, step)]
        axes.add_collection(LineCollection(across + down, colors=colour, linewidths=pen * POINT), autolim=False)


def _rectangle(axes: "Axes", box: Box, colour: str) -> None:
    from matplotlib.patches import Rectangle

    axes.add_artist(Rectangle((box.x, box.y), box.width, box.height, facecolor=colour, edgecolor="none", zorder=0.5))


def _stroke(axes: "Axes", x: np.ndarray, y: np.ndarray, pen: float, joint: str) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    there = np.isfinite(y)
    if not there.any():
        return
    first = there & ~np.concatenate(([False], there[:-1]))
    alone = first & ~np.concatenate((there[1:], [False]))  # a sample between two gaps: drawn to itself, which is a dot
    twice = np.repeat(np.arange(len(y)), there + alone)
    codes = np.where(first[twice], Path.MOVETO, Path.LINETO)
    codes[1:][twice[1:] == twice[:-1]] = Path.LINETO
    cap = "round" if joint == "round" else "butt"
    path = Path(np.column_stack([x[twice], y[twice]]), codes)
    axes.add_artist(
        PathPatch(path, fill=False, edgecolor=INK, linewidth=pen * POINT, joinstyle=joint, capstyle=cap, zorder=2)
    )
