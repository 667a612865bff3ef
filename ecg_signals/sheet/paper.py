"""A sheet of ECG paper: everything on it, in millimetres from its upper left corner. Knows nothing of who draws it."""

from dataclasses import dataclass, field

import numpy as np

PAGES = {"a4": (297.0, 210.0), "letter": (279.4, 215.9)}  # mm, landscape


@dataclass(frozen=True)
class Box:
    """A rectangle; `role` says what it is: "grid", "for", "against" (a reason's cells), "value-bar", "wave-p" ..."""

    x: float
    y: float
    width: float
    height: float
    role: str

    @property
    def bottom(self) -> float:
        return self.y + self.height

    @property
    def right(self) -> float:
        return self.x + self.width


@dataclass(frozen=True)
class Line:
    """Straight pieces through the points `x`, `y`; `role` is "pulse", "separator", "value-span" or "value-zero"."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    role: str


@dataclass(frozen=True)
class Text:
    """Words on a baseline that begins (or, with `end`, stops) at x; `size` is the height of the font, mm."""

    x: float
    y: float
    words: str
    size: float
    bold: bool = False
    end: bool = False
    role: str = "about"


@dataclass(frozen=True)
class Trace:
    """A stretch of one lead: a point (x, y) is the time start + (x - x0) / speed, the value (base - y) / gain + offset.

    Attributes:
        lead: its name, with "-" in front where it is drawn upside down.
        start: seconds of the record at which it begins; there lies `x0`.
        base: where its offset lies.
        offset: the one constant that was taken off, mV: the median of the stretch.
        x, y: [points], NaN where the record has no value.
    """

    lead: str
    start: float
    x0: float
    base: float
    offset: float
    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Sheet:
    """One page.

    Attributes:
        width, height: of the paper.
        grid: the ruled part; every trace lies inside.
        tint: colour of the grid, "pink" or "grey".
        speed, gain: mm/s and mm/mV.
        rate: samples per second of the record.
        every: of so many millimetres only the lowest and the highest sample are drawn; 0: every sample.
        traces: in reading order, then the rhythm strips.
        title: what a reader who does not see it hears first; `about`: then this.
    """

    width: float
    height: float
    grid: Box
    tint: str
    speed: float
    gain: float
    rate: float
    every: float
    traces: tuple[Trace, ...]
    title: str
    about: str
    lines: tuple[Line, ...] = ()
    texts: tuple[Text, ...] = ()
    boxes: tuple[Box, ...] = field(default=())
