"""What a sheet is to look like."""

import math
from dataclasses import dataclass

from ecg_signals.config import ConfigError
from ecg_signals.sheet.arrangement import LAYOUTS
from ecg_signals.sheet.paper import PAGES

GAINS = (20.0, 10.0, 5.0, 2.5)  # mm/mV that an electrocardiograph has; amplitudes that need it get still less
SPEEDS = (5.0, 100.0)  # mm/s, the slowest and the fastest
TINTS = ("pink", "grey")
TRACES = 250.0  # mm of paper that traces take from left to right: 10 s at 25 mm/s
OVERVIEW_SECONDS = 30.0  # of a page of 12 x 1 where all pages of a long record are drawn


@dataclass(frozen=True)
class Style:
    """The choices of `ecg-view`; the defaults are the usual printout.

    Attributes:
        layout: "3x4", "6x2", "12x1", or "cabrera", which is 6x2 with the limb leads as aVL I -aVR II aVF III.
        rhythm: leads of the strips below, over the whole width; None: II below 3x4, none below others.
        speed: mm/s; None: 25.
        gain: mm/mV; less, which the sheet then says, where the traces would not fit.
        page: "a4" or "letter", both landscape.
        start: seconds of the record at which the first page begins.
        tint: of the grid, "pink" or "grey".
        every: of so many millimetres of paper only the lowest and the highest sample are drawn, where they are; 0: all
            samples up to 1000 Hz, above that 0.05 mm.
        patient: whether the header shows what the file says of the patient.
        derive: whether limb leads that are missing are computed from two others, and marked.
        panel: mm above the foot that are left free.
    Raises: ConfigError for a value that no sheet has.
    """

    layout: str = "3x4"
    rhythm: tuple[str, ...] | None = None
    speed: float | None = None
    gain: float = 10.0
    page: str = "a4"
    start: float = 0.0
    tint: str = "pink"
    every: float = 0.0
    patient: bool = False
    derive: bool = False
    panel: float = 0.0

    def __post_init__(self) -> None:
        for name, known in (("layout", LAYOUTS), ("page", PAGES), ("tint", TINTS), ("gain", GAINS)):
            if getattr(self, name) not in known:
                said = ", ".join(map(str, known)) if name != "gain" else ", ".join(f"{gain:g}" for gain in GAINS)
                raise ConfigError(f"{name} {getattr(self, name)!r} does not exist; choose {said}")
        if self.speed is not None and not SPEEDS[0] <= self.speed <= SPEEDS[1]:
            raise ConfigError(f"speed {self.speed:g} mm/s; give {SPEEDS[0]:g} to {SPEEDS[1]:g}, usually 25 or 50")
        if not (math.isfinite(self.start) and self.start >= 0):
            raise ConfigError(f"start {self.start:g} s; give the seconds from the record's beginning, 0 or more")

    @property
    def mm_per_second(self) -> float:
        return 25.0 if self.speed is None else self.speed
