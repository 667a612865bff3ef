"""Pictures of records and predictions: which leads are where, what is drawn, and that any record can be."""

import subprocess
from pathlib import Path

import ecg_signals.sample
import numpy as np
import pytest
from warm_commands import python

from ecg_signals.inference.plots import plot_prediction, plot_record, save_pictures
from ecg_signals.inference.predict import Prediction
from ecg_signals.readers.read import read_record
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.record import Record

FILE = Path(next(iter(ecg_signals.sample.__path__))) / "records500" / "00000" / "00017_hr"


@pytest.fixture
def record():
    return read_record(FILE)


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def traces(figure):
    """(times, values) of what has more points than a calibration pulse."""
    lines = [line.get_data() for line in figure.axes[0].lines]
    return [(np.asarray(x), np.asarray(y)) for x, y in lines if len(x) > 6]


def test_every_lead_has_its_place_and_lead_two_a_strip_of_ten_seconds(record):
    figure = plot_record(record, title="record 17")
    assert sorted(texts(figure)) == sorted([*LEADS, "II"]) and figure.axes[0].get_title(loc="left") == "record 17"
    drawn = traces(figure)
    assert [round(x[-1] - x[0], 1) for x, _ in drawn] == [2.5] * 12 + [10.0]
    row = [x[0] for x, _ in drawn[:4]]
    np.testing.assert_allclose(row, [0, 2.5, 5, 7.5])
    ave, strip = drawn[1][1], drawn[-1][1]
    wanted = record.signal[LEADS.index("aVR"), 1250:2500]
    np.testing.assert_allclose(ave - ave.mean(), wanted - wanted.mean(), atol=1e-5)
    assert np.ptp(strip) == pytest.approx(np.ptp(record.signal[1]), abs=1e-5)


def test_paper_has_25_mm_per_second_and_10_mm_per_millivolt(record):
    figure = plot_record(record)
    axes, (width, height) = figure.axes[0], figure.get_size_inches()
    box = axes.get_position()
    millimetres = (
        box.width * width * 25.4 / np.ptp(axes.get_xlim()),
        box.height * height * 25.4 / np.ptp(axes.get_ylim()),
    )
    np.testing.assert_allclose(millimetres, (25, 10), rtol=1e-6)


def test_the_order_of_leads_in_the_file_does_not_matter(record):
    order = np.random.default_rng(0).permutation(12)
    shuffled = Record(record.signal[order], record.sample_rate, [record.leads[index] for index in order])
    for (_, one), (_, other) in zip(traces(plot_record(record)), traces(plot_record(shuffled))):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("seconds", [0.5, 3, 10, 60])
def test_any_length_is_drawn_and_stated(record, seconds):
    signal = np.tile(record.signal, (1, 6))[:, : round(seconds * 500)]
    figure = plot_record(Record(signal, 500, record.leads))
    assert f"{seconds:g} s" in figure.axes[0].get_title(loc="right")
    assert max(x[-1] for x, _ in traces(figure)) <= 10.0


def test_missing_leads_leave_their_place_empty_and_other_leads_get_a_row_each(record):
    record.signal[8] = np.nan
    figure = plot_record(Record(record.signal[:10], 500, record.leads[:10]))
    assert {"V3 missing", "V5 missing", "V6 missing"} <= set(texts(figure)) and len(traces(figure)) == 10
    figure = plot_record(Record(record.signal[:3], 500, ["MLII", "V1", "Vx"]))
    assert texts(figure) == ["MLII", "V1", "Vx"]
    plot_record(Record(np.full((12, 5000), np.nan, dtype=np.float32), 500, list(LEADS)))


def prediction(record="a", labels=20):
    names = [f"label {index}" for index in range(labels)]
    windows = [
        {"start": 5 * w, "end": 5 * w + 5, "probabilities": {n: (i + w) / 40 for i, n in enumerate(names)}}
        for w in range(2)
    ]
    return Prediction(record, {name: index / 40 + 0.0125 for index, name in enumerate(names)}, windows)


def test_the_highest_probabilities_are_drawn_with_the_span_of_their_windows(record):
    bars = plot_prediction(record, prediction()).axes[1]
    names = [label.get_text() for label in bars.get_yticklabels()]
    assert names == [f"label {index}" for index in range(19, 7, -1)]
    np.testing.assert_allclose(next(patch.get_width() for patch in bars.patches), 19 / 40 + 0.0125)
    np.testing.assert_allclose(bars.lines[0].get_xdata(), [19 / 40, 20 / 40])


def test_every_window_s_value_lies_on_the_axis_and_what_must_be_said_stands_below_it(record):
    said = prediction(labels=2)
    said.windows[0]["probabilities"]["label 1"], said.windows[1]["probabilities"]["label 0"] = 7.5, -3.0
    said.notes = ["toy model trained on 55 records"]
    bars = plot_prediction(record, said).axes[1]
    assert bars.get_xlim() == (-3.0, 7.5)
    assert bars.get_xlabel() == "probability, 2 windows; toy model trained on 55 records"


def test_pictures_are_named_after_their_records_and_never_overwrite_each_other(tmp_path):
    found = [prediction(str(FILE), 2), prediction(str(FILE), 1), Prediction("gone", error="not there")]
    paths = save_pictures(found, tmp_path / "new" / "pictures")
    assert [path.name for path in paths] == ["00017_hr.png", "00017_hr_2.png"]
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in paths)


def test_ecg_predict_draws_what_it_predicts(golden, tmp_path):
    command = [python(), "-m", "ecg_signals.cli.predict", str(FILE), "--plot", str(tmp_path / "here")]
    command += ["--model", str(golden / "wcr" / "clf" / "checkpoint.pt")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and (tmp_path / "here" / "00017_hr.png").is_file(), done.stderr
    (tmp_path / "file").touch()
    done = subprocess.run([*command[:-3], str(tmp_path / "file"), *command[-2:]], capture_output=True, text=True)
    assert done.returncode == 1 and "Give --plot another folder" in done.stderr and "Traceback" not in done.stderr
