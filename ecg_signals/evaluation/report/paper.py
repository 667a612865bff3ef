"""An ECG on paper, as inline SVG."""

import html

import numpy as np

from ecg_signals.evaluation.report.charts import polyline
from ecg_signals.signal.record import Record
from ecg_signals.signal.sheet import MM_PER_SECOND, PULSE_SECONDS, Sheet, lay_out


def ecg(record: Record, title: str, every: float = 0.0) -> str:
    """Ten seconds as on paper, laid out like the pictures of `ecg-predict --plot`. SVG in millimetres.

    Args:
        title: for readers who do not see it.
        every: of so many millimetres only the lowest and the highest sample are drawn, where they are; 0: all samples.
    """
    sheet = lay_out(record)
    below = f'x="{sheet.width:g}" y="{sheet.height + 4:g}"'
    text = [f'<text class="gain" {below}>{html.escape(sheet.note)}</text>']
    x, y = np.array([2.0, 4, 4, 9, 9, 11]), np.array([0.0, 0, 1, 1, 0, 0])  # the pulse before every row
    drawn = [polyline(x, row.baseline - y * sheet.pulse * sheet.gain) for row in sheet.rows]
    bucket = int(every / MM_PER_SECOND * sheet.sample_rate)
    for strip in sheet.strips:
        row = sheet.rows[strip.row]
        left = (PULSE_SECONDS + strip.start) * MM_PER_SECOND
        name = f"{strip.lead} missing" if strip.empty else strip.lead
        text.append(f'<text x="{left + 1:.1f}" y="{row.top + 3.5:.1f}">{html.escape(name)}</text>')
        x = (PULSE_SECONDS + sheet.times(strip)) * MM_PER_SECOND
        y = row.baseline - strip.signal * sheet.gain
        for part in _runs(np.isfinite(y)):
            kept = extremes(y[part], bucket)
            drawn.append(polyline(x[part][kept], y[part][kept]))
    grid = "".join(_grid(sheet, step) for step in (1, 5))
    return (
        f'<svg class="ecg" viewBox="0 0 {sheet.width:g} {sheet.height + 5:g}" role="img">'
        f"<title>{html.escape(title)}</title>{grid}{''.join(drawn)}{''.join(text)}</svg>"
    )


def _grid(sheet: Sheet, step: int) -> str:
    """A line per `step` millimetres, thicker for more of them."""
    lines = [f"M{x} 0V{sheet.height:g}" for x in range(0, int(sheet.width) + 1, step)]
    lines += [f"M0 {y}H{sheet.width:g}" for y in range(0, int(sheet.height) + 1, step)]
    return f'<path class="paper" stroke-width="{0.05 + 0.03 * step:g}" d="{"".join(lines)}"/>'


def extremes(values: np.ndarray, bucket: int) -> np.ndarray:
    """Places of the first, the last, and the lowest and highest of every `bucket` values, which need no others to be
    seen; all where a bucket holds up to two."""
    if bucket < 3:
        return np.arange(len(values))
    whole = np.pad(values, (0, -len(values) % bucket), mode="edge").reshape(-1, bucket)
    starts = np.arange(len(whole)) * bucket
    found = np.concatenate([[0], starts + whole.argmin(axis=1), starts + whole.argmax(axis=1), [len(values) - 1]])
    return np.unique(np.minimum(found, len(values) - 1))


def _runs(there: np.ndarray) -> list[slice]:
    """Stretches of samples that have values; between them no line is drawn."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], there, [False])).astype(int)))
    return [slice(int(begin), int(end)) for begin, end in edges.reshape(-1, 2)]
