"""A sheet as SVG, of its own text alone: no script, no style sheet, no font or picture from elsewhere.

The picture can be measured back: every trace carries what turns its points into seconds and mV, see `paper.Trace`, and
the root says the scales. Colours are attributes, so that a page's rules against inline styles do not take them away.
"""

import html
import math
import re
from collections.abc import Iterator

import numpy as np

from ecg_signals.sheet.colours import FILLS, GRIDS, INK, PENS
from ecg_signals.sheet.paper import Box, Line, Sheet, Text, Trace

NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # characters that XML cannot hold
FONT = "Arial, Helvetica, sans-serif"


def svg(sheet: Sheet, inline: bool = False) -> str:
    """The whole file; `inline`: as part of an HTML page, which knows the namespace and so names no address at all."""
    namespace = "" if inline else ' xmlns="http://www.w3.org/2000/svg"'
    numbers = {"speed": sheet.speed, "gain": sheet.gain, "rate": sheet.rate, "every": sheet.every}
    data = " ".join(f'data-{name}="{value:.10g}"' for name, value in numbers.items())
    size = f'width="{sheet.width:g}mm" height="{sheet.height:g}mm" viewBox="0 0 {sheet.width:g} {sheet.height:g}"'
    parts = [
        f'<svg class="ecg"{namespace} {size} role="img" {data}>',
        f"<title>{_escaped(sheet.title)}</title><desc>{_escaped(sheet.about)}</desc>",
        f'<rect class="sheet" width="{sheet.width:g}" height="{sheet.height:g}" fill="#ffffff"/>',
        *_grid(sheet.grid, sheet.tint),
        *map(_box, sheet.boxes),
        *map(_line, sheet.lines),
        f'<g fill="none" stroke="{INK}" stroke-width="{PENS["trace"]}" stroke-linejoin="round" stroke-linecap="round">',
        *(_trace(trace, sheet.gain) for trace in sheet.traces),
        f'</g><g fill="{INK}" font-family="{FONT}">',
        *map(_text, sheet.texts),
        "</g></svg>",
    ]
    return "\n".join(parts) + "\n"


def _escaped(text: str) -> str:
    return html.escape(NO_XML.sub("\ufffd", text), quote=True)


def _grid(grid: Box, tint: str) -> Iterator[str]:
    """A thin line every millimetre, a thick one every five."""
    paper, fine, coarse = GRIDS[tint]
    place = f'x="{grid.x:g}" y="{grid.y:g}" width="{grid.width:g}" height="{grid.height:g}"'
    yield f'<rect class="grid" {place} fill="{paper}"/>'
    for name, step, colour in (("fine", 1, fine), ("coarse", 5, coarse)):
        lines = [f"M{grid.x + x:g},{grid.y:g}V{grid.bottom:g}" for x in range(0, round(grid.width) + 1, step)]
        lines += [f"M{grid.x:g},{grid.y + y:g}H{grid.right:g}" for y in range(0, round(grid.height) + 1, step)]
        yield f'<path class="{name}" fill="none" stroke="{colour}" stroke-width="{PENS[name]}" d="{"".join(lines)}"/>'


def _box(box: Box) -> str:
    place = f'x="{box.x:.3f}" y="{box.y:.3f}" width="{box.width:.3f}" height="{box.height:.3f}"'
    return f'<rect class="{box.role}" {place} fill="{FILLS[box.role]}"/>'


def _line(line: Line) -> str:
    points = "L".join(f"{x:.3f},{y:.3f}" for x, y in zip(line.x, line.y))
    return f'<path class="{line.role}" fill="none" stroke="{INK}" stroke-width="{PENS[line.role]}" d="M{points}"/>'


def _trace(trace: Trace, gain: float) -> str:
    decimals = max(3, 3 - math.floor(math.log10(gain)))  # 0.001 mm, and at a small gain what 0.001 mV takes
    data = f'data-lead="{_escaped(trace.lead)}" data-start="{trace.start:.6f}" data-x0="{trace.x0:.6f}"'
    data += f' data-base="{trace.base:.6f}" data-offset="{trace.offset:.6f}"'
    return f'<path class="trace" {data} d="{_path(trace.x, trace.y, decimals)}"/>'


def _path(x: np.ndarray, y: np.ndarray, decimals: int) -> str:
    """Pieces between the gaps; a sample between two gaps is closed onto itself, which draws a dot."""
    there = np.isfinite(y)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], there, [False])).astype(np.int8))).reshape(-1, 2)
    pieces = []
    for begin, end in edges.tolist():
        points = [f"{a:.3f},{b:.{decimals}f}" for a, b in zip(x[begin:end].tolist(), y[begin:end].tolist())]
        pieces.append(f"M{'L'.join(points)}{'Z' if end - begin == 1 else ''}")
    return "".join(pieces)


def _text(text: Text) -> str:
    weight, anchor = ' font-weight="bold"' * text.bold, ' text-anchor="end"' * text.end
    place = f'x="{text.x:.2f}" y="{text.y:.2f}" font-size="{text.size:g}"'
    return f'<text class="{text.role}" {place}{weight}{anchor}>{_escaped(text.words)}</text>'
