"""What is written around the traces of a sheet."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ecg_signals
from ecg_signals.limits import shown
from ecg_signals.sheet.paper import PAGES, Box, Text
from ecg_signals.sheet.style import TRACES, Style
from ecg_signals.signal.record import Record

TITLE, SMALL = 3.8, 2.6  # mm, sizes of fonts
LETTER = 0.58  # width of an average letter, of a font's size
DAGGER, MINUS, BETWEEN = "\u2020", "\u2212", " \u00b7 "
DISCLAIMER = "research use, not a medical device"
LONGEST_NAME = 20  # letters of a lead's name that are shown


def letters(text: str) -> float:
    """About how wide a text is, in units of its font's size."""
    return LETTER * len(text)


def lead_name(lead: str, recorded: bool = True) -> str:
    """The name at a trace, or what stands in its place."""
    name = shown(lead, LONGEST_NAME)
    name = MINUS + name[1:] if name.startswith("-") else name
    return name if recorded else f"{name} not recorded"


@dataclass(frozen=True)
class Facts:
    """What header and foot are made of.

    Attributes:
        title: the record's name; `answerer`: who said what the panel shows.
        pulse: mV.
        left_out: leads that found no row.
        derived: names of leads that are computed from others.
        in_turn: whether the columns follow each other in time.
        quality: what is wrong with the record.
    """

    title: str
    answerer: str
    record: Record
    style: Style
    gain: float
    pulse: float
    left_out: int
    derived: Sequence[str]
    in_turn: bool
    quality: str = ""

    @property
    def usual(self) -> bool:
        """Whether the scale is the one asked for, and nothing is left out."""
        return self.gain == self.style.gain and not self.left_out

    def scales(self) -> str:
        """Speed, gain and pulse, and what of the record is not there."""
        less = "" if self.gain == self.style.gain else f" instead of {self.style.gain:g}"
        said = [f"{self.style.mm_per_second:.4g} mm/s", f"{self.gain:g} mm/mV{less}", f"pulse {self.pulse:g} mV"]
        if self.left_out:
            said.append(f"{self.left_out} of {len(self.record.leads)} leads are not shown")
        return BETWEEN.join(said)

    def stretch(self) -> str:
        """The seconds that the sheet shows, of how many."""
        seconds = self.record.signal.shape[1] / self.record.sample_rate
        begin = self.style.start
        end = min(seconds, begin + TRACES / self.style.mm_per_second)
        return f"{seconds:g} s" if (begin, end) == (0, seconds) else f"{begin:g} to {end:g} of {seconds:g} s"

    def about_record(self) -> str:
        """When and how it was recorded, as the file says."""
        when = (self.record.start or "").replace("T", " ")
        listed = ", ".join(f"{name} {value}" for name, value in self.record.filters.items())
        said = [f"recorded {when}" if when else "", self.stretch(), f"{self.record.sample_rate:g} Hz",
                f"filters {listed}" if listed else "", "" if self.in_turn else "all columns show the same time",
                f"{DAGGER} computed from other leads" if self.derived else ""]  # fmt: skip
        return BETWEEN.join(shown(text) for text in said if text)

    def patient(self) -> str:
        """What the file says of the patient, if that was asked for."""
        if not self.style.patient:
            return ""
        known: dict[str, Any] = dict(self.record.patient)
        known |= {key: self.record.metadata[key] for key in ("age", "sex") if key in self.record.metadata}
        return BETWEEN.join(f"{shown(key)} {shown(value)}" for key, value in known.items())

    def spoken(self) -> str:
        said = [self.about_record(), self.scales(), *([shown(self.quality, 400)] if self.quality else [])]
        return "; ".join(said).replace(BETWEEN, ", ")


def texts(facts: Facts, grid: Box) -> Iterator[Text]:
    """Header and foot; each line ends where the grid does."""
    head, width = grid.y, grid.width
    foot = PAGES[facts.style.page][1] - 4.0
    yield Text(grid.x, head - 11.5, fitted(shown(facts.title, 400), width, TITLE), TITLE, bold=True, role="title")
    yield Text(grid.x, head - 7.0, fitted(facts.about_record(), width, SMALL), SMALL)
    third = [(facts.quality, "quality"), (facts.patient(), "patient")]
    third = [(words, role) for words, role in third if words]
    for words, role in third:  # one line, from either end where there are both
        fits = fitted(shown(words, 400), width / len(third) - 2.0 * (len(third) - 1), SMALL)
        right = words is third[-1][0] and len(third) > 1
        yield Text(grid.right if right else grid.x, head - 2.8, fits, SMALL, end=right, role=role)
    maker = f"ecg-signals {ecg_signals.__version__}"
    made = BETWEEN.join([*([shown(facts.answerer)] if facts.answerer else []), maker, DISCLAIMER])
    yield Text(grid.x, foot, fitted(facts.scales(), width / 2, SMALL), SMALL, bold=not facts.usual, role="scales")
    yield Text(grid.right, foot, fitted(made, width / 2, SMALL), SMALL, end=True)


def fitted(text: str, width: float, size: float) -> str:
    """A text that takes about `width` mm at most; a longer one loses its middle."""
    most = int(width / (LETTER * size))
    if len(text) <= most:
        return text
    return f"{text[: most // 2 - 1]}\u2026{text[-(most - most // 2) :]}"
