"""A sheet's SVG measured back, from its text alone."""

import re
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np

SVG = "{http://www.w3.org/2000/svg}"


@dataclass
class Measured:
    """One trace: seconds and mV of the record [points], and millimetres, [pieces] of [points, 2]."""

    lead: str
    seconds: np.ndarray
    values: np.ndarray
    pieces: list[np.ndarray]


class Page:
    def __init__(self, text: str) -> None:
        self.root = ElementTree.fromstring(text)
        self.speed, self.gain, self.rate, self.every = (
            float(self.root.get(f"data-{name}")) for name in ("speed", "gain", "rate", "every")
        )
        self.traces = [self._trace(path) for path in self.all("path", "trace")]
        self.words = {role: [text.text for text in self.all("text", role)] for role in ("lead", "scales", "about")}

    def all(self, tag: str, role: str) -> list[ElementTree.Element]:
        return [found for found in self.root.iter(SVG + tag) if found.get("class") == role]

    def grid(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        (box,) = self.all("rect", "grid")
        x, y, width, height = (float(box.get(name)) for name in ("x", "y", "width", "height"))
        return x, y, x + width, y + height

    def pulses(self) -> list[np.ndarray]:
        return [points(path.get("d"))[0] for path in self.all("path", "pulse")]

    def _trace(self, path: ElementTree.Element) -> Measured:
        start, x0, base, offset = (float(path.get(f"data-{name}")) for name in ("start", "x0", "base", "offset"))
        pieces = points(path.get("d"))
        x, y = np.concatenate(pieces).T
        return Measured(path.get("data-lead"), start + (x - x0) / self.speed, (base - y) / self.gain + offset, pieces)


def points(d: str) -> list[np.ndarray]:
    return [np.array(re.findall(r"([-\d.]+),([-\d.]+)", piece), float) for piece in d.split("M")[1:]]
