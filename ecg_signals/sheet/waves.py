"""P waves, QRS complexes and T waves as bands behind the traces, with a key below the grid."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ecg_signals.sheet.panel import row_height
from ecg_signals.sheet.paper import Box, Sheet, Text
from ecg_signals.sheet.words import LETTER, SMALL

PANEL = 6.0  # mm of `Style.panel` that the key needs
KEYS = {"p": "P wave", "qrs": "QRS complex", "t": "T wave"}
PATCH, APART = 5.0, 6.0  # mm: width of a colour in the key, and between one entry and the next

Span = tuple[float, float]  # first and last second of a wave


def with_waves(sheet: Sheet, waves: Mapping[str, Mapping[str, Iterable[Span]]]) -> Sheet:
    """The sheet with a band for every wave, and a key.

    Args:
        waves: lead -> wave, of KEYS -> its spans in the record; what lies outside the time of a trace is left out.
    """
    high, boxes, texts = row_height(sheet), list[Box](), list[Text]()
    for trace in sheet.traces:
        end = trace.start + (trace.x[-1] - trace.x0) / sheet.speed
        for wave, spans in waves.get(trace.lead.removeprefix("-"), {}).items():
            for first, last in ((max(a, trace.start), min(b, end)) for a, b in spans if b >= trace.start and a <= end):
                x, width = trace.x0 + (first - trace.start) * sheet.speed, (last - first) * sheet.speed
                boxes.append(Box(x, trace.base - high, width, 2 * high, f"wave-{wave}"))
    x, y = sheet.grid.x, sheet.grid.bottom + 2.0
    for wave, name in KEYS.items():
        boxes.append(Box(x, y, PATCH, SMALL, f"wave-{wave}"))
        texts.append(Text(x + PATCH + 1.5, y + SMALL - 0.4, name, SMALL, role="key"))
        x += PATCH + 1.5 + LETTER * SMALL * len(name) + APART
    return replace(sheet, boxes=(*sheet.boxes, *boxes), texts=(*sheet.texts, *texts))
