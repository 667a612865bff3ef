"""Sheets of ECG paper: every drawn point is the data under the printed scale, in its row, on the sheet."""

import re
from pathlib import Path

import ecg_signals.sample
import numpy as np
import pytest

from ecg_signals.inference.plots import plot_record
from ecg_signals.readers.read import read_record
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.record import Record
from ecg_signals.signal.sheet import MM_PER_SECOND, NAME, PULSE_SECONDS, Sheet, lay_out

SAMPLE = Path(next(iter(ecg_signals.sample.__path__)))
FILES = sorted(SAMPLE.glob("records500/*/*.hea"))


def awkward() -> dict[str, Record]:
    rng = np.random.default_rng(0)
    beat = rng.standard_normal((12, 5000)).astype(np.float32) * 0.1
    beat[:, ::500] = 1.5

    def changed(lead: int, value: float) -> np.ndarray:
        signal = beat.copy()
        for begin in (700, 1700, 3000, 4400):  # in each column
            signal[lead, begin : begin + 10] = value
        return signal

    gaps = changed(3, np.nan)
    gaps[7] = np.nan
    return {
        "20 mV": Record(changed(6, 20.0), 500, list(LEADS)),
        "-20 mV": Record(changed(1, -20.0), 500, list(LEADS)),
        "counts": Record(beat * 1e5, 500, list(LEADS)),
        "the largest float": Record(np.sign(beat) * np.finfo(np.float32).max, 500, list(LEADS)),
        "infinite": Record(changed(4, np.inf), 500, list(LEADS)),
        "an offset": Record(beat + 300, 500, list(LEADS)),
        "gaps": Record(gaps, 500, list(LEADS)),
        "flat": Record(np.zeros((12, 5000), dtype=np.float32), 500, list(LEADS)),
        "one lead": Record(beat[:1], 500, ["II"]),
        "other leads": Record(beat[:5], 500, ["X", "Y", "Z", "<b>", "$a_1$"]),
        "a name twice": Record(beat[:5], 500, ["I", "II", "V1", "V1", "V2"]),
        "60 s": Record(np.tile(beat, (1, 6)), 500, list(LEADS)),
        "half a second": Record(beat[:, :250], 500, list(LEADS)),
        "an odd rate": Record(beat[:, :3593], 359.3, list(LEADS)),
        "many leads": Record(np.tile(beat, (4, 1)), 500, [f"E{k}" for k in range(48)]),
        "empty": Record(beat[:, :0], 500, list(LEADS)),
    }


def points(sheet: Sheet) -> list[tuple[np.ndarray, np.ndarray, int]]:
    """(x, y, row) of every strip with values, mm from the upper left corner."""
    return [
        (
            (PULSE_SECONDS + sheet.times(s)) * MM_PER_SECOND,
            sheet.rows[s.row].baseline - s.signal * sheet.gain,
            s.row,
        )
        for s in sheet.strips
        if not s.empty
    ]


def check_inside(sheet: Sheet) -> None:
    """Traces lie in their rows, rows below each other on the sheet, strips of a row beside each other."""
    edges = [edge for row in sheet.rows for edge in (row.top + NAME, row.baseline, row.bottom)]
    assert sheet.rows[0].top >= 0 and edges == sorted(edges) and edges[-1] <= sheet.height
    ends: dict[int, float] = {}
    for x, y, row in points(sheet):
        assert sheet.rows[row].top + NAME - 1e-9 <= np.nanmin(y) and np.nanmax(y) <= sheet.rows[row].bottom + 1e-9
        assert ends.get(row, 0.0) <= x[0] and x[-1] <= sheet.width
        ends[row] = x[-1]


def check_values(sheet: Sheet, record: Record) -> None:
    """Every value of the shown stretch of its lead, apart from a level that the strip has in common."""
    printed = float(re.search(r"([\d.e+-]+) mm/mV", sheet.note).group(1))
    assert printed == pytest.approx(sheet.gain, rel=1e-5)
    whole = record.signal.shape[1] >= 10 * record.sample_rate
    for strip in sheet.strips:
        if strip.lead not in record.leads:
            assert strip.empty
            continue
        begin = round(strip.start * record.sample_rate) if whole else 0
        lead = strip.row if len(sheet.rows) != 4 else record.leads.index(strip.lead)
        source = record.signal[lead, begin : begin + len(strip.signal)].astype(float)
        finite = np.isfinite(source)
        assert np.array_equal(np.isfinite(strip.signal), finite)
        if finite.any():
            level = np.median(source[finite])
            np.testing.assert_allclose(strip.signal[finite], source[finite] - level, rtol=1e-12)


@pytest.mark.parametrize("name", awkward())
def test_every_point_of_an_awkward_record_is_the_data_under_the_printed_scale_inside_its_row(name: str):
    record = awkward()[name]
    sheet = lay_out(record)
    check_inside(sheet)
    check_values(sheet, record)


def test_every_point_of_the_sample_is_the_data_under_the_printed_scale_inside_its_row():
    for file in FILES:
        record = read_record(file.with_suffix(""))
        sheet = lay_out(record)
        check_inside(sheet)
        check_values(sheet, record)
        assert sheet.gain in (10.0, 5.0)


def test_the_gain_falls_by_steps_of_an_electrocardiograph_and_the_sheet_says_so():
    record = awkward()["20 mV"]
    sheet = lay_out(record)
    assert sheet.gain == 2.5 and "2.5 mm/mV instead of 10, pulse 1 mV" in sheet.note
    usual = lay_out(awkward()["one lead"])
    assert usual.gain == 10 and "10 mm/mV, pulse 1 mV" in usual.note and "instead" not in usual.note
    assert lay_out(awkward()["counts"]).pulse * lay_out(awkward()["counts"]).gain >= 2.5


def test_the_picture_draws_the_sheet_in_its_own_place():
    for name in ("20 mV", "gaps", "60 s", "one lead", "an odd rate"):
        record = awkward()[name]
        sheet, figure = lay_out(record), plot_record(record)
        axes = figure.axes[0]
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        assert ((right - left) * MM_PER_SECOND, (top - bottom) * sheet.gain) == pytest.approx(
            (sheet.width, sheet.height)
        )
        drawn = [np.array(line.get_data()) for line in axes.lines if len(line.get_xdata()) > 6]
        for (x, y), (wanted_x, wanted_y, _) in zip(drawn, points(sheet), strict=True):
            np.testing.assert_allclose((x - left) * MM_PER_SECOND, wanted_x)
            np.testing.assert_allclose((top - y) * sheet.gain, wanted_y, atol=1e-9)
        assert axes.get_title(loc="right") == sheet.note


@pytest.mark.parametrize("name", ["the largest float", "empty"])
def test_the_largest_and_the_shortest_record_can_be_drawn(name: str):
    plot_record(awkward()[name], "a title").canvas.draw()


def test_leads_and_seconds_that_are_left_out_are_stated():
    assert "first 24 of 48 leads" in lay_out(awkward()["many leads"]).note
    assert "first 10 of 60 s" in lay_out(awkward()["60 s"]).note
    assert [len(strip.signal) for strip in lay_out(awkward()["one lead"]).strips] == [5000]
