"""Bars of values below the grid, and cells over the traces: what a model says of the record on the sheet."""

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from ecg_signals.limits import shown
from ecg_signals.sheet.paper import Box, Line, Sheet, Text
from ecg_signals.sheet.words import LETTER, MINUS, SMALL, fitted

PANEL = 28.0  # mm of `Style.panel` that a sheet with bars needs
COLUMNS, ROWS = 3, 4
MOST = COLUMNS * ROWS  # values that are shown
CAPTION, FIRST, STEP = 3.6, 11.0, 4.2  # mm below the grid: the caption's first line, the first row; between rows
BAR, NUMBER, THICK = 26.0, 11.0, 2.4  # mm: length of the longest bar, of what is behind it, and a bar's height
TALLEST_CELL = 5.0  # mm of the largest cell, above or below its baseline

Cell = tuple[float, float, float]  # begin and end in seconds of the record, and a value


@dataclass(frozen=True)
class Value:
    """A bar: its name and value, and the lowest and highest of what it was made from."""

    name: str
    value: float
    ends: tuple[float, float] | None = None
    signed: bool = False


def with_values(sheet: Sheet, values: Sequence[Value], caption: str) -> Sheet:
    """The sheet with up to MOST bars and up to two lines of caption in its panel, see `Style.panel`."""
    shown_values = values[:MOST]
    reach = [number for value in shown_values for number in (value.value, *(value.ends or ()))]
    low, high = min([0.0, *reach]), max([0.0 if any(v.signed for v in shown_values) else 1.0, *reach])
    wide = sheet.grid.width / COLUMNS
    boxes, lines, texts = list(sheet.boxes), list(sheet.lines), [*sheet.texts, *_caption(sheet, caption)]
    for number, value in enumerate(shown_values):
        right = sheet.grid.x + wide * (number // ROWS + 1) - 4.0
        y = sheet.grid.bottom + FIRST + STEP * (number % ROWS)
        left = right - NUMBER - BAR
        scale = BAR / ((high - low) or 1.0)
        zero = left - low * scale
        begin, end = sorted((zero, zero + value.value * scale))
        boxes.append(Box(begin, y - THICK + 0.3, end - begin, THICK, "value-bar"))
        lines.append(Line((zero, zero), (y - THICK, y + 0.6), "value-zero"))
        if value.ends:
            middle = y - THICK / 2 + 0.3
            lines.append(Line(tuple(zero + end * scale for end in value.ends), (middle, middle), "value-span"))
        name = fitted(shown(value.name, 200), wide - BAR - NUMBER - 7.0, SMALL)
        texts.append(Text(left - 2.0, y, name, SMALL, bold=True, end=True, role="label"))
        texts.append(Text(right, y, number_text(value.value, value.signed), SMALL, end=True, role="value"))
    return replace(sheet, boxes=tuple(boxes), lines=tuple(lines), texts=tuple(texts))


def number_text(value: float, signed: bool) -> str:
    """Two decimals, with a sign where it matters."""
    return (f"{value:+.2f}" if signed else f"{value:.2f}").replace("-", MINUS)


def _caption(sheet: Sheet, caption: str) -> Iterator[Text]:
    most = int(sheet.grid.width / (LETTER * SMALL))
    lines = textwrap.wrap(shown(caption, 2 * most), most)[:2]
    for number, line in enumerate(lines):
        yield Text(sheet.grid.x, sheet.grid.bottom + CAPTION + 3.4 * number, line, SMALL, role="caption")


def with_cells(sheet: Sheet, cells: Mapping[str, Sequence[Cell]]) -> Sheet:
    """The sheet with a bar per cell behind the traces: up where the value is positive, down where it is negative.

    Args:
        cells: of every lead, by its name; what lies outside the time that a trace shows is left out.
    """
    height = row_height(sheet)
    largest = max((abs(value) for own in cells.values() for *_, value in own), default=0.0)
    boxes = []
    for trace in sheet.traces:
        end = trace.start + (trace.x[-1] - trace.x0) / sheet.speed
        for begin, finish, value in cells.get(trace.lead.removeprefix("-"), ()):
            first, last = max(begin, trace.start), min(finish, end)
            if first >= last or not value or math.isnan(value):
                continue
            high = height * abs(value) / largest
            x, width = trace.x0 + (first - trace.start) * sheet.speed, (last - first) * sheet.speed
            y, role = (trace.base - high, "for") if value > 0 else (trace.base, "against")
            boxes.append(Box(x, y, width, high, role))
    return replace(sheet, boxes=(*sheet.boxes, *boxes))


def row_height(sheet: Sheet) -> float:
    """mm above or below a baseline that meet no neighbouring row and do not leave the grid, TALLEST_CELL at most."""
    bases = sorted({trace.base for trace in sheet.traces})
    if not bases:
        return TALLEST_CELL
    apart = [(below - above) / 2 for above, below in pairwise(bases)]
    return min([TALLEST_CELL, *apart, bases[0] - sheet.grid.y, sheet.grid.bottom - bases[-1]])
