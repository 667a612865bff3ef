"""Pictures of predictions: the record on its sheet, the answers below it, the reasons behind the traces."""

import subprocess
from pathlib import Path

import ecg_signals.sample
import numpy as np
import pytest
from warm_commands import python

from ecg_signals.inference.pictures import answered, explained, save_pictures
from ecg_signals.inference.predict import Prediction
from ecg_signals.inference.reasons import Reason
from ecg_signals.readers.read import read_record
from ecg_signals.sheet.paper import Sheet
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.record import Record

FILE = Path(next(iter(ecg_signals.sample.__path__))) / "records500" / "00000" / "00017_hr"


@pytest.fixture
def record():
    return read_record(FILE)


def prediction(record="a", labels=20):
    names = [f"label {index}" for index in range(labels)]
    windows = [
        {"start": 5 * w, "end": 5 * w + 5, "probabilities": {n: (i + w) / 40 for i, n in enumerate(names)}}
        for w in range(2)
    ]
    return Prediction(record, {name: index / 40 + 0.0125 for index, name in enumerate(names)}, windows)


def words(sheet: Sheet, role: str) -> list[str]:
    return [text.words for text in sheet.texts if text.role == role]


def bars(sheet: Sheet) -> list:
    return [box for box in sheet.boxes if box.role == "value-bar"]


def test_the_highest_probabilities_are_drawn_with_the_span_of_their_windows(record):
    sheet = answered(record, prediction("folder/a"))
    assert words(sheet, "label") == [f"label {index}" for index in range(19, 7, -1)]
    assert words(sheet, "value")[0] == "0.49" and words(sheet, "title") == ["a"]
    lengths = [bar.width for bar in bars(sheet)]
    assert lengths == pytest.approx([26 * (index / 40 + 0.0125) for index in range(19, 7, -1)])
    span = next(line for line in sheet.lines if line.role == "value-span")
    assert np.array(span.x) - bars(sheet)[0].x == pytest.approx([26 * 19 / 40, 26 * 20 / 40])


def test_the_answers_lie_below_the_grid_and_above_the_foot_without_touching_each_other(record):
    sheet = answered(record, prediction())
    assert (sheet.width, sheet.height) == (297, 210)
    foot = min(text.y - text.size for text in sheet.texts if text.role == "scales")
    rows = sorted({round(bar.y, 3) for bar in bars(sheet)})
    assert sheet.grid.bottom + 7 < rows[0] and rows[-1] + 3 < foot and min(np.diff(rows)) > 3
    assert all(sheet.grid.x <= bar.x and bar.right <= sheet.grid.right for bar in bars(sheet))


def test_a_value_outside_0_to_1_lies_on_the_axis_and_what_must_be_said_stands_above_it(record):
    said = prediction(labels=2)
    said.probabilities = {"label 0": -3.0, "label 1": 7.5}
    for window in said.windows:
        window["probabilities"] = dict(said.probabilities)
    said.notes = ["toy model trained on 55 records"]
    said.calibrated = True
    sheet = answered(record, said)
    high, low = bars(sheet)
    assert (high.width, low.width) == pytest.approx((26 * 7.5 / 10.5, 26 * 3 / 10.5))
    assert high.x == pytest.approx(low.right) and words(sheet, "value") == ["7.50", "\u22123.00"]
    assert words(sheet, "caption") == ["probability, 2 windows; toy model trained on 55 records"]
    said.calibrated = False
    assert words(answered(record, said), "caption") == ["score, 2 windows; toy model trained on 55 records"]


def reason(**changed) -> Reason:
    cells = {lead: [(k / 4, k / 4 + 0.25, 0.0) for k in range(80)] for lead in LEADS}
    cells["V5"] = [(k / 4, k / 4 + 0.25, 1.0 if k in (48, 49) else -0.5 if k == 60 else 0.0) for k in range(80)]
    settings = {"label": "label 1", "seconds": 0.25, "leads": dict.fromkeys(LEADS, 0.0) | {"V5": 1.5, "I": -0.5},
                "cells": cells, "count": 2, "lost": 2.0, "random": 0.1, "windows": 4, "of_windows": 4}  # fmt: skip
    return Reason(**{**settings, **changed})


def test_cells_lie_behind_the_seconds_of_their_lead_up_for_the_answer_and_down_against_it(record):
    long = Record(np.tile(record.signal, (1, 2)), 500, record.leads)
    sheet = explained(long, prediction(), reason())
    (trace,) = [trace for trace in sheet.traces if trace.lead == "V5"]
    assert trace.start == 10.0 and len(sheet.traces) == 12
    first, second = [box for box in sheet.boxes if box.role == "for"]
    (against,) = [box for box in sheet.boxes if box.role == "against"]
    assert first.x == pytest.approx(trace.x0 + 2 * 25) and second.right == pytest.approx(trace.x0 + 2.5 * 25)
    assert first.bottom == pytest.approx(trace.base) and against.y == pytest.approx(trace.base)
    assert first.height == pytest.approx(2 * against.height) and first.width == pytest.approx(6.25)
    assert words(sheet, "label") == list(LEADS) and "+1.50" in words(sheet, "value")
    caption = " ".join(words(sheet, "caption"))
    assert "label 1 0.04" in caption and "loses 2.00, without as many at random 0.10" in caption
    assert "no stable reason found" not in caption


def test_a_reason_that_random_cells_give_as_well_is_called_none():
    assert "no stable reason found" in reason(random=1.01).words() and not reason(random=1.01).stable
    assert reason(random=0.99).stable and not reason(lost=0.001, random=-1.0).stable
    assert "Asked of the 12 of 99 windows" in reason(windows=12, of_windows=99).words()


def test_pictures_are_named_after_their_records_and_never_overwrite_each_other(tmp_path):
    found = [prediction(str(FILE), 2), prediction(str(FILE), 1), Prediction("gone", error="not there")]
    found[0].reasons = [reason(label=label, cells={}) for label in ("label 1", "a/../b")]
    found[0].probabilities["a/../b"] = 0.5
    for window in found[0].windows:
        window["probabilities"]["a/../b"] = 0.5
    paths = save_pictures(found, tmp_path / "new" / "pictures", "models/mine.pt")
    names = ["00017_hr.png", "00017_hr_why_label 1.png", "00017_hr_why_a__up_b.png", "00017_hr_2.png"]
    assert [path.name for path in paths] == names
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in paths)


def test_ecg_predict_draws_what_it_predicts(golden, tmp_path):
    command = [python(), "-m", "ecg_signals.cli.predict", str(FILE), "--plot", str(tmp_path / "here")]
    command += ["--model", str(golden / "wcr" / "clf" / "checkpoint.pt")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and (tmp_path / "here" / "00017_hr.png").is_file(), done.stderr
    (tmp_path / "file").touch()
    done = subprocess.run([*command[:-3], str(tmp_path / "file"), *command[-2:]], capture_output=True, text=True)
    assert done.returncode == 1 and "Give --plot another folder" in done.stderr and "Traceback" not in done.stderr
