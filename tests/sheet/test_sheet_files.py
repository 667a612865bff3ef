"""Sheets as files: the paper's size, the scale of what is printed, and the command that makes them."""

import re
import shutil
import struct
import subprocess
import warnings
from pathlib import Path

import ecg_signals.sample
import numpy as np
import pytest
from measured import Page
from PIL import Image

from ecg_signals.cli.running import run_command
from ecg_signals.cli.view import run
from ecg_signals.sheet.layout import layout
from ecg_signals.sheet.paper import Sheet
from ecg_signals.sheet.style import Style
from ecg_signals.sheet.svg import svg
from ecg_signals.sheet.write import write
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.record import Record

FILE = Path(next(iter(ecg_signals.sample.__path__))) / "records500" / "00000" / "00017_hr"
DOTS = 254.0  # per inch: ten per millimetre


@pytest.fixture(scope="module")
def square() -> Record:
    """One square of 2 mV and 0.2 s in each column, else zero."""
    signal = np.zeros((12, 5000), np.float32)
    for begin in range(500, 5000, 1250):
        signal[:, begin : begin + 100] = 2.0
    return Record(signal, 500, list(LEADS))


def check_scale(picture: np.ndarray, sheet: Sheet) -> None:
    """[rows, columns, 3] at ten dots per millimetre: the grid's period, the pulse's and the square's size."""
    darkness = 255.0 - picture.mean(axis=2)
    red = picture[:, :, 0].astype(float) - picture[:, :, 1]
    top, left = round(sheet.grid.y * 10), round(sheet.grid.x * 10)
    for profile, first, length in (
        (red.mean(axis=0), left, 2700),
        (red.mean(axis=1), top, round(sheet.grid.height * 10)),
    ):
        lines = [first + 50 * k - 12 + int(profile[first + 50 * k - 12 : first + 50 * k + 13].argmax())
                 for k in range(1, length // 50)]  # fmt: skip
        assert np.polyfit(np.arange(len(lines)), lines, 1)[0] / 10 == pytest.approx(5.0, abs=0.02)
    pulse = sheet.lines[0]
    box = np.array([min(pulse.y), max(pulse.y), pulse.x[1], pulse.x[3]]) * 10
    low, high, begin, end = np.rint(box).astype(int)
    ink = darkness[low - 20 : high + 20, begin - 20 : end + 20] > 128
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink[15:80].any(axis=0))
    assert (np.ptp(rows) + 1) / 10 == pytest.approx(10.0, abs=0.3)
    assert (np.ptp(columns) + 1) / 10 == pytest.approx(5.0, abs=0.3)
    trace = sheet.traces[0]
    column = darkness[:, round((trace.x0 + 1.1 * 25) * 10)] > 128
    place = np.flatnonzero(column[round(trace.base * 10) - 250 : round(trace.base * 10)])[0]
    assert 25 - place / 10 == pytest.approx(20.0, abs=0.2)


def test_a_png_says_its_dots_per_inch_and_has_the_printed_scale(square: Record, tmp_path: Path):
    sheet = layout(square)
    (path,) = write([sheet], tmp_path / "a.png", dpi=DOTS)
    content = path.read_bytes()
    at = content.index(b"pHYs")
    assert struct.unpack(">IIB", content[at + 4 : at + 13]) == (10_000, 10_000, 1)
    picture = np.asarray(Image.open(path).convert("RGB"))
    assert picture.shape == (2100, 2970, 3)
    check_scale(picture, sheet)


@pytest.mark.parametrize("page", [("a4", 841.9, 595.3), ("letter", 792.0, 612.0)])
def test_a_pdf_has_one_page_of_paper_size_without_date_and_name(square: Record, page: tuple, tmp_path: Path):
    name, width, height = page
    (path,) = write([layout(square, Style(page=name))], tmp_path / "a.pdf")
    content = path.read_bytes()
    (box,) = re.findall(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+) ?\]", content)
    assert [float(value) for value in box] == pytest.approx([width, height], abs=0.5)
    assert b"/CreationDate" not in content and content.startswith(b"%PDF")


@pytest.mark.skipif(shutil.which("pdftoppm") is None, reason="pdftoppm is not installed")
def test_a_printed_pdf_has_the_printed_scale(square: Record, tmp_path: Path):
    sheet = layout(square)
    write([sheet], tmp_path / "a.pdf")
    words = ["pdftoppm", "-r", "254", "-png", "-singlefile", str(tmp_path / "a.pdf"), str(tmp_path / "page")]
    subprocess.run(words, check=True)
    check_scale(np.asarray(Image.open(tmp_path / "page.png").convert("RGB")), sheet)


def test_no_setting_of_the_user_s_matplotlib_moves_a_point(square: Record, tmp_path: Path):
    import matplotlib as mpl

    sheet = layout(square)
    (first,) = write([sheet], tmp_path / "a.png", dpi=60)
    odd = {"path.simplify_threshold": 1.0, "font.size": 40, "savefig.bbox": "tight", "axes.facecolor": "black"}
    with mpl.rc_context({**odd, "axes.xmargin": 0.4, "lines.linewidth": 9}):
        (second,) = write([sheet], tmp_path / "b.png", dpi=60)
    assert first.read_bytes() == second.read_bytes()


def test_a_figure_draws_names_that_a_font_or_a_formula_would_trip_over(tmp_path: Path):
    record = Record(np.zeros((3, 500), np.float32), 500, ["$a_1$", r"\frac", "心"])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")
        write([layout(record)], tmp_path / "a.png", dpi=40)


def view(*words: str) -> None:
    run([str(FILE), *words])


def test_ecg_view_writes_all_three_kinds_and_prints_their_names(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    view("--out", "new/a.svg", "--layout", "6x2", "--rhythm", "II,V1", "--gain", "5", "--speed", "50", "--grid", "grey")
    view("--out", "a.png", "--dpi", "40", "--page", "letter")
    view()
    assert capsys.readouterr().out.split() == ["new/a.svg", "a.png", "00017_hr.pdf"]
    page = Page((tmp_path / "new/a.svg").read_text())
    assert (page.speed, page.gain, len(page.traces)) == (50, 5, 14)
    assert "00017_hr" in page.root[0].text and str(FILE.parent) not in (tmp_path / "new/a.svg").read_text()
    assert Image.open(tmp_path / "a.png").size == (440, 340)


def test_ecg_view_writes_the_pages_of_a_long_record(tmp_path: Path, capsys):
    run([str(FILE), "--out", str(tmp_path / "a.svg"), "--pages", "all", "--speed", "100"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.svg", "a_2.svg", "a_3.svg", "a_4.svg"]
    assert len(capsys.readouterr().out.split()) == 4
    run([str(FILE), "--out", str(tmp_path / "a.pdf"), "--pages", "2", "--speed", "100", "--start", "5"])
    assert (tmp_path / "a.pdf").read_bytes().count(b"/MediaBox") == 2
    run([str(FILE), "--out", str(tmp_path / "b.svg"), "--patient", "--derive", "--rhythm", "none"])
    assert len(Page((tmp_path / "b.svg").read_text()).traces) == 12


def test_ecg_view_draws_what_a_recorder_exported(shared: Path, tmp_path: Path, capsys):
    for name in ("example.scp", "synthetic_muse.xml", "philips_103.xml", "ptbxl_uV.edf"):
        run([str(shared / "data/clinical" / name), "--out", str(tmp_path / f"{name}.svg")])
        page = Page((tmp_path / f"{name}.svg").read_text())
        assert len(page.traces) == 13 and page.root[0].text.startswith(f"ECG {name}")


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--out", "a.jpg"], 1, ".svg, .pdf, .png"),
        (["--start", "10"], 1, "the record has 10 s"),
        (["--gain", "7"], 1, "choose 20, 10, 5, 2.5"),
        (["--rhythm", "V9"], 1, "unknown lead 'V9'"),
        (["--pages", "0"], 2, "a number, or all"),
        (["--dpi", "5"], 2, "10 to 1200"),
        (["--layout", "3x5"], 2, "invalid choice"),
    ],
)
def test_ecg_view_says_what_it_cannot_draw(words, status, said, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["ecg-view", str(FILE), *words])
    with pytest.raises(SystemExit) as ended:
        run_command(run)
    err = capsys.readouterr().err
    assert ended.value.code == status and said in err and "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_ecg_view_never_writes_over_the_record(tmp_path: Path, monkeypatch, capsys):
    np.save(tmp_path / "a.npy", np.zeros((12, 5000), np.float32))
    (tmp_path / "a.svg").symlink_to(tmp_path / "a.npy")
    before = (tmp_path / "a.npy").read_bytes()
    monkeypatch.setattr("sys.argv", ["ecg-view", str(tmp_path / "a.npy"), "--out", str(tmp_path / "a.svg")])
    with pytest.raises(SystemExit):
        run_command(run)
    assert (tmp_path / "a.npy").read_bytes() == before


def test_an_unfinished_sheet_leaves_no_file(square: Record, tmp_path: Path):
    def broken():
        yield layout(square)
        raise RuntimeError("the second page")

    with pytest.raises(RuntimeError):
        write(broken(), tmp_path / "a.pdf")
    assert not list(tmp_path.iterdir())


def test_svg_and_figure_draw_the_same_points(square: Record):
    from ecg_signals.sheet.picture import figure

    sheet = layout(square, Style(layout="12x1"))
    drawn = [
        patch.get_path().vertices for patch in figure(sheet).axes[0].patches if len(patch.get_path().vertices) > 100
    ]
    for mine, trace in zip(drawn, Page(svg(sheet)).traces, strict=True):
        np.testing.assert_allclose(mine, trace.pieces[0], atol=6e-4)
