"""Sheets measured back: what is drawn is the record under the printed scale, on the paper, in its row."""

import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import ecg_signals.sample
import numpy as np
import pytest
from measured import Page

from ecg_signals.config import ConfigError
from ecg_signals.readers.read import read_record
from ecg_signals.sheet.layout import layout, pages, thinned
from ecg_signals.sheet.paper import PAGES, Sheet
from ecg_signals.sheet.rows import TALLEST
from ecg_signals.sheet.style import Style
from ecg_signals.sheet.svg import svg
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.record import Record

SAMPLE = Path(next(iter(ecg_signals.sample.__path__)))
FILES = sorted(SAMPLE.glob("records500/*/*.hea"))
LAYOUTS = ("3x4", "6x2", "12x1", "cabrera")


def beats(seconds: float = 10.0, rate: float = 500.0, leads: int = 12, high: float = 1.0) -> np.ndarray:
    """[leads, samples] of noise with a narrow peak of `high` mV each second, another shape in every lead."""
    draws = np.random.default_rng(0)
    signal = draws.standard_normal((leads, round(seconds * rate))).astype(np.float32) * 0.02
    signal[:, round(rate / 2) :: round(rate)] = high
    return signal


def with_values(row: int, value: float) -> np.ndarray:
    signal = beats()
    for begin in (700, 1700, 3000, 4400):  # in each column
        signal[row, begin : begin + 10] = value
    return signal


def awkward() -> dict[str, Record]:
    twelve, gaps = list(LEADS), with_values(3, np.nan)
    gaps[7] = np.nan
    gaps[2, 1:4] = gaps[2, 5] = np.nan  # single samples between gaps
    return {
        "20 mV": Record(with_values(6, 20.0), 500, twelve),
        "-20 mV": Record(with_values(1, -20.0), 500, twelve),
        "counts": Record(beats() * 1e5, 500, twelve),
        "the largest float": Record(np.sign(beats()) * np.finfo(np.float32).max, 500, twelve),
        "infinite": Record(with_values(4, np.inf), 500, twelve),
        "an offset": Record(beats() + 300, 500, twelve),
        "gaps": Record(gaps, 500, twelve),
        "flat": Record(np.zeros((12, 5000), dtype=np.float32), 500, twelve),
        "no value at all": Record(np.full((12, 5000), np.nan, dtype=np.float32), 500, twelve),
        "one lead": Record(beats()[:1], 500, ["II"]),
        "three leads": Record(beats()[:3], 500, ["I", "II", "III"]),
        "eight leads": Record(beats()[:8], 500, ["I", "II", *LEADS[6:]]),
        "fifteen leads": Record(beats(leads=15), 500, [*LEADS, "V3R", "V4R", "V7"]),
        "other leads": Record(beats()[:5], 500, ["X", "Y", "Z", '<b a="&">', "$a_1$"]),
        "a name twice": Record(beats()[:5], 500, ["I", "II", "V1", "V1", "V2"]),
        "names of control characters": Record(beats()[:2], 500, ["\x00\x1b[31m", "\ud800" + "x" * 100]),
        "60 s": Record(np.tile(beats(), (1, 6)), 500, twelve),
        "9 s": Record(beats(9.0), 500, twelve),
        "half a second": Record(beats()[:, :250], 500, twelve),
        "one sample": Record(beats()[:, :1], 500, twelve),
        "no sample": Record(beats()[:, :0], 500, twelve),
        "an odd rate": Record(beats()[:, :3593], 359.3, twelve),
        "4000 Hz": Record(beats(rate=4000.0), 4000, twelve),
        "many leads": Record(np.tile(beats(), (4, 1)), 500, [f"E{k}" for k in range(48)]),
    }


AWKWARD = awkward()


def check_inside(sheet: Sheet) -> None:
    """Everything drawn lies on the grid; no trace enters the rows beside it, none is farther than it may be."""
    grid = sheet.grid
    assert grid.x >= 0 and grid.right <= sheet.width and grid.y > 0 and grid.bottom < sheet.height
    for x, y in [(t.x, t.y) for t in sheet.traces] + [(np.array(line.x), np.array(line.y)) for line in sheet.lines]:
        assert grid.x <= x.min() and x.max() <= grid.right and grid.y <= np.nanmin(y) and np.nanmax(y) <= grid.bottom
    assert all(text.y >= text.size and text.y < sheet.height and text.x >= 0 for text in sheet.texts)
    bases = sorted({round(trace.base, 6) for trace in sheet.traces})
    reach: dict[float, list[tuple[float, ...]]] = {base: [] for base in bases}
    for trace in sheet.traces:
        ends = trace.x.min(), trace.x.max(), np.nanmin(trace.y), np.nanmax(trace.y)
        reach[round(trace.base, 6)].append(ends)
    for above, below in pairwise(bases):
        for left, right, top, bottom in reach[above]:
            assert max(bottom - above, above - top) <= TALLEST + 1e-6
            assert bottom - above <= 0.75 * (below - above) + 1e-6
            for other_left, other_right, other_top, _ in reach[below]:
                assert bottom < other_top or right < other_left or other_right < left


def check_values(page: Page, record: Record, leads: int | None = None) -> None:
    """Every sample of the stretch that each trace shows, within 5 uV and 1 ms; the printed gain is the true one."""
    assert float(re.search(r"([\d.e+-]+) mm/mV", page.words["scales"][0])[1]) == pytest.approx(page.gain, rel=1e-4)
    rows = {name.lower(): row for row, name in reversed(list(enumerate(record.leads)))}
    for trace in page.traces:
        source = record.signal[rows[trace.lead.lower().removeprefix("-")]].astype(float)
        source = np.where(np.isfinite(source), source, np.nan) * (-1 if trace.lead.startswith("-") else 1)
        at = np.rint(trace.seconds * record.sample_rate).astype(int)
        assert np.abs(at / record.sample_rate - trace.seconds).max() < 1e-3
        scale = max(1.0, np.nanmax(np.abs(source)) / 100)
        np.testing.assert_allclose(trace.values, source[at], atol=0.005 * scale)
        whole = np.arange(at[0], at[-1] + 1)
        expected = whole[np.isfinite(source[whole])]
        if not page.every:
            np.testing.assert_array_equal(at, expected)
        assert source[at].max() == source[expected].max() and source[at].min() == source[expected].min()


@pytest.mark.parametrize("name", AWKWARD)
def test_every_point_of_an_awkward_record_is_its_data_under_the_printed_scale_in_its_own_row(name: str):
    record = AWKWARD[name]
    for kind in LAYOUTS:
        check_inside(layout(record, Style(layout=kind), name))
    page = Page(svg(layout(record, Style(layout=LAYOUTS[len(name) % 4]), name)))
    if name not in ("a name twice", "names of control characters", "the largest float"):
        check_values(page, record)


def test_real_records_are_measured_back_to_5_microvolts_and_1_ms_from_the_svg_alone():
    for number, file in enumerate(FILES[::25]):
        record = read_record(file.with_suffix(""))
        page = Page(svg(layout(record, Style(layout=LAYOUTS[number]))))
        check_values(page, record)
        assert sum(len(trace.values) for trace in page.traces) == (20_000, 30_000, 60_000, 30_000)[number]


def test_the_columns_of_the_usual_printout_follow_each_other_in_time():
    sheet = layout(AWKWARD["60 s"], Style(start=20.0))
    starts = {trace.lead: trace.start for trace in sheet.traces[:-1]}
    assert starts == {lead: 20 + 2.5 * (k // 3) for k, lead in enumerate(LEADS)}
    assert [len(trace.x) for trace in sheet.traces] == [1250] * 12 + [5000]
    short = layout(AWKWARD["half a second"])
    assert {trace.start for trace in short.traces} == {0.0}
    assert any("all columns show the same time" in text.words for text in short.texts)


def check_files(files: list[Path]) -> None:
    for file in files:
        record = read_record(file.with_suffix(""))
        for kind in LAYOUTS:
            sheet = layout(record, Style(layout=kind))
            check_inside(sheet)
            assert sheet.gain in (10.0, 5.0, 2.5)


def test_real_records_lie_in_the_grid_in_every_layout():
    check_files(FILES[::8])


@pytest.mark.slow
def test_all_real_records_lie_in_the_grid_in_every_layout(shared: Path):
    check_files([*FILES, *sorted((shared / "data/ptbxl_500/records500").rglob("*.hea"))])


def test_a_wave_of_4_mv_is_drawn_whole_at_the_half_gain_which_the_sheet_prints_in_bold():
    signal = np.zeros((12, 5000), np.float32)
    signal[:, 250::500] = 4.0
    for record in (Record(signal, 500, list(LEADS)), Record(signal[:1], 500, ["II"])):
        sheet = layout(record)
        page = Page(svg(sheet))
        assert page.gain == 5 and "5 mm/mV instead of 10" in page.words["scales"][0]
        assert next(text for text in sheet.texts if text.role == "scales").bold
        for trace in page.traces:
            assert np.ptp(np.concatenate(trace.pieces)[:, 1]) == pytest.approx(20, abs=0.01)
        assert all(np.ptp(pulse, axis=0)[1] == pytest.approx(5) for pulse in page.pulses())
    assert layout(Record(signal / 4, 500, list(LEADS))).gain == 10


def test_a_square_of_1_mv_and_200_ms_is_as_large_as_the_pulse_of_its_row():
    signal = np.zeros((12, 5000), np.float32)
    for begin in range(200, 5000, 625):
        signal[:, begin : begin + 100] = 1.0
    for style in (Style(), Style(layout="6x2"), Style(gain=20.0, speed=50.0), Style(gain=5.0, page="letter")):
        page = Page(svg(layout(Record(signal, 500, list(LEADS)), style)))
        assert len(page.pulses()) == {"3x4": 4, "6x2": 6}[style.layout]
        for pulse in page.pulses():
            inner = pulse[1:5]
            assert np.ptp(inner, axis=0) == pytest.approx((0.2 * style.mm_per_second, page.gain))
        for trace in page.traces:
            (xy,) = trace.pieces
            high = xy[xy[:, 1] < xy[0, 1] - 1]
            assert high[:, 1].min() == pytest.approx(xy[0, 1] - page.gain, abs=2e-3)
            first = high[high[:, 0] < high[0, 0] + 0.2 * style.mm_per_second]
            width = np.ptp(first[:, 0]) + style.mm_per_second / 500
            assert width == pytest.approx(0.2 * style.mm_per_second, abs=0.01)


def test_cabrera_shows_avr_upside_down_between_i_and_ii():
    record = read_record(FILES[0].with_suffix(""))
    page = Page(svg(layout(record, Style(layout="cabrera"))))
    assert [trace.lead for trace in page.traces[::2]] == ["aVL", "I", "-aVR", "II", "aVF", "III"]
    assert page.words["lead"][::2][2] == "\u2212aVR"
    turned = next(trace for trace in page.traces if trace.lead == "-aVR")
    np.testing.assert_allclose(turned.values, -record.signal[3, :2500], atol=0.005)


def test_missing_leads_keep_their_place_by_name_and_computed_ones_carry_a_dagger():
    page = Page(svg(layout(AWKWARD["eight leads"])))
    missing = [name for name in page.words["lead"] if "not" in name]
    assert missing == [f"{lead} not recorded" for lead in ("aVR", "aVL", "III", "aVF")]
    assert len(page.traces) == 9
    page = Page(svg(layout(AWKWARD["eight leads"], Style(derive=True))))
    marked = {name for name in page.words["lead"] if name.endswith("\u2020")}
    assert marked == {"III\u2020", "aVR\u2020", "aVL\u2020", "aVF\u2020"} and len(page.traces) == 13
    assert any("\u2020 computed from other leads" in words for words in page.words["about"])
    third = next(trace for trace in page.traces if trace.lead == "III")
    signal = AWKWARD["eight leads"].signal
    np.testing.assert_allclose(third.values, (signal[1] - signal[0])[:1250], atol=0.005)
    stated = Record(beats(), 500, list(LEADS))
    stated.derived = ["aVF"]
    assert "aVF\u2020" in Page(svg(layout(stated))).words["lead"]
    assert "V2 not recorded" in Page(svg(layout(AWKWARD["gaps"]))).words["lead"]


def test_further_leads_stand_below_the_twelve_and_rhythm_strips_at_the_end():
    page = Page(svg(layout(AWKWARD["fifteen leads"], Style(rhythm=("V1", "v7")))))
    assert page.words["lead"][12:] == ["V3R", "V4R", "V7", "V1", "V7"]
    assert [len(trace.values) for trace in page.traces[12:]] == [1250, 1250, 1250, 5000, 5000]
    assert len(Page(svg(layout(AWKWARD["fifteen leads"], Style(rhythm=())))).traces) == 15
    with pytest.raises(ConfigError, match="unknown lead 'V77'; did you mean"):
        layout(AWKWARD["fifteen leads"], Style(rhythm=("V77",)))


def test_leads_and_seconds_that_are_not_shown_are_stated():
    many = Page(svg(layout(AWKWARD["many leads"])))
    assert len(many.traces) == 24 and "24 of 48 leads are not shown" in many.words["scales"][0]
    later = layout(AWKWARD["60 s"], Style(start=20))
    assert any("20 to 30 of 60 s" in text.words for text in later.texts)
    with pytest.raises(ConfigError, match=r"has 60 s.*from 60 s on"):
        layout(AWKWARD["60 s"], Style(start=60))


def test_the_pages_of_a_long_record_show_all_of_it_once():
    record = AWKWARD["60 s"]
    rhythm = [sheet.traces[-1] for sheet in pages(record)]
    assert [trace.start for trace in rhythm] == [0, 10, 20, 30, 40, 50] and sum(len(t.x) for t in rhythm) == 30_000
    sheets = list(pages(record, Style(layout="12x1"), "long"))
    assert len(sheets) == 2 and [len(trace.x) for trace in sheets[1].traces] == [15_000] * 12
    assert any("8.333 mm/s" in text.words for text in sheets[0].texts) and "page 2 of 2" in sheets[1].title
    assert len(list(pages(record, Style(layout="12x1", speed=25.0)))) == 6
    little_more = next(pages(Record(np.tile(beats(), (1, 2))[:, :5120], 500, [*LEADS]), Style(layout="12x1")))
    assert little_more.speed == 25 and [len(trace.x) for trace in little_more.traces] == [5000] * 12
    assert any("10.24 s" in text.words for text in little_more.texts)
    day = Record(np.tile(beats(60.0, 100.0, 1), (1, 24 * 60)), 100, ["II"])
    last = layout(day, Style(start=86_395.0))
    assert len(last.traces[0].x) == 500 and next(pages(day)).traces[0].start == 0


def test_names_and_titles_are_text_and_nothing_comes_from_elsewhere():
    record = AWKWARD["other leads"]
    text = svg(layout(record, title='<script>alert("x")</script>'))
    assert "<script" not in text and "<b " not in text and "<style" not in text
    assert not re.search(r"(?:href|src|url|import|onload|onclick)\b", text)
    assert re.findall(r"https?://\S+", text) == ['http://www.w3.org/2000/svg"']
    page = Page(text)
    assert page.root[0].tag.endswith("title") and page.root[1].tag.endswith("desc") and page.root.get("role") == "img"
    assert {trace.lead for trace in page.traces} == set(record.leads)


@pytest.mark.skipif(shutil.which("xmllint") is None, reason="xmllint is not installed")
def test_xmllint_finds_nothing_wrong():
    text = "".join(svg(layout(AWKWARD[name])) for name in ["names of control characters"])
    done = subprocess.run(["xmllint", "--noout", "-"], input=text, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_the_patient_is_shown_only_when_asked_for_and_what_the_recorder_says_always():
    record = Record(
        beats(), 500, list(LEADS), comments=["Name: Doe"], metadata={"age": 61, "label": "AFIB"},
        start="2020-01-02T03:04:05", filters={"highpass": "0.05", "notch": "50"}, patient={"name": "Doe"},
    )  # fmt: skip
    plain = svg(layout(record))
    assert "Doe" not in plain and "61" not in plain.partition("<path")[0]
    assert "recorded 2020-01-02 03:04:05" in plain and "filters highpass 0.05, notch 50" in plain
    asked = svg(layout(record, Style(patient=True)))
    assert "name Doe · age 61" in asked and "AFIB" not in asked


def test_a_thinned_trace_keeps_every_peak_and_gap_where_it_is():
    signal = np.random.default_rng(0).standard_normal(1234)
    kept = thinned(signal, 10)
    assert len(kept) < 300
    for begin in range(0, 1234, 10):
        block = signal[begin : begin + 10]
        assert {block.max(), block.min()} <= set(signal[kept])
    signal[400:600] = np.nan
    kept = thinned(signal, 10)
    assert np.isnan(signal[kept]).sum() >= 1 and {0, 399, 600, 1233} <= set(kept.tolist())
    assert len(thinned(signal, 2)) == 1234


@pytest.mark.parametrize(
    "wrong", [{"layout": "4x3"}, {"page": "a5"}, {"gain": 7.0}, {"speed": 1.0}, {"start": -1.0}, {"tint": "blue"}]
)
def test_a_style_that_no_sheet_has_is_refused_with_what_there_is(wrong: dict):
    with pytest.raises(ConfigError, match=r"choose|give"):
        Style(**wrong)


def test_both_papers_hold_10_s_at_the_usual_speed():
    for page, (width, height) in PAGES.items():
        sheet = layout(AWKWARD["flat"], Style(page=page))
        assert (sheet.width, sheet.height) == (width, height) and len(sheet.traces[-1].x) == 5000
        assert sheet.grid.right - sheet.traces[-1].x[-1] >= 5
