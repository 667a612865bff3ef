"""Which lead stands where: rows and columns of the usual printouts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ecg_signals.signal.leads import LEADS, lead_index

_CHEST = LEADS[6:]
LAYOUTS = {
    "3x4": (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6")),
    "6x2": tuple(zip(LEADS[:6], _CHEST)),
    "12x1": tuple((lead,) for lead in LEADS),
    "cabrera": tuple(zip(("aVL", "I", "-aVR", "II", "aVF", "III"), _CHEST)),
}
RHYTHM = {"3x4": ("II",)}  # the strips below a layout, unless others are asked for
FEWEST = 4  # standard leads of a record that is laid out; one with less has a row for each
MOST_ROWS = 24


@dataclass(frozen=True)
class Place:
    """Where a lead stands.

    Attributes:
        lead: its name.
        source: its row in the record, None if it is not there.
        sign: -1 where it is drawn upside down.
        row, column: from the upper left.
        columns: of its row.
    """

    lead: str
    source: int | None
    sign: int
    row: int
    column: int
    columns: int


def arranged(leads: Sequence[str], layout: str, rhythm: Sequence[str] | None) -> tuple[list[Place], int]:
    """The places of a record's leads, and how many leads found none (a record may have hundreds).

    The standard leads go where `layout` has them, others in rows below. A record of up to three standard leads, or with
    a name twice, has a row for each lead.

    Args:
        rhythm: leads of further rows at the end, or None for those that the layout has.
    Raises: ConfigError for a rhythm lead that is none.
    """
    lowered = [name.lower() for name in leads]
    standard = [name for name in LEADS if name.lower() in lowered]
    usual = len(standard) >= FEWEST and len(set(lowered)) == len(leads)
    rows: list[Sequence[tuple[str, int | None]]] = list(_usual(leads, layout) if usual else _single(leads))
    strips = rhythm if rhythm is not None else RHYTHM.get(layout, ()) if usual else ()
    known = list(dict.fromkeys([*leads, *LEADS]))
    for name in strips:
        lead = known[lead_index(name, known)]
        rows.append([(lead, _source(lead, leads))])
    places = [
        Place(name, source, -1 if name == "-aVR" else 1, number, column, len(row))
        for number, row in enumerate(rows[:MOST_ROWS])
        for column, (name, source) in enumerate(row)
    ]
    return places, sum(len(row) for row in rows[MOST_ROWS:])


def _usual(leads: Sequence[str], layout: str) -> Iterator[list[tuple[str, int | None]]]:
    for row in LAYOUTS[layout]:
        yield [(name, _source(name.removeprefix("-"), leads)) for name in row]
    columns, others = len(LAYOUTS[layout][0]), [name for name in leads if name.lower() not in map(str.lower, LEADS)]
    for at in range(0, len(others), columns):
        further: list[tuple[str, int | None]] = [(name, _source(name, leads)) for name in others[at : at + columns]]
        yield [*further, *[("", None)] * (columns - len(further))]


def _single(leads: Sequence[str]) -> Iterator[list[tuple[str, int | None]]]:
    for source, name in enumerate(leads):
        yield [(name, source)]


def _source(name: str, leads: Sequence[str]) -> int | None:
    return next((row for row, lead in enumerate(leads) if lead.lower() == name.lower()), None)
