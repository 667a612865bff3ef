"""Beats found in records whose beats are known."""

import json
from pathlib import Path

import numpy as np
import pytest

from ecg_signals.readers.read import read_record
from ecg_signals.signal.beats import find_beats, rr_interval


def test_the_beats_of_an_annotated_record_are_found(shared: Path, golden: Path):
    record = read_record(shared / "data" / "wfdb_samples" / "wfdb_formats" / "100.hea")
    wanted = json.loads((golden / "benchmarks" / "wfdb_expected.json").read_text())["wfdb_formats/100.atr"]
    beats = find_beats(record.signal, record.sample_rate)
    assert abs(len(beats) - wanted["n_beats"]) <= 2
    assert rr_interval(record.signal, record.sample_rate) == pytest.approx(wanted["median_rr_ms"], abs=3)
    for sample in wanted["first10_samples"][2:]:
        assert np.abs(beats - sample).min() < 0.08 * record.sample_rate


def test_a_flat_or_a_short_record_has_no_beats():
    assert len(find_beats(np.zeros((12, 1000)), 100)) == 0
    assert np.isnan(rr_interval(np.full((12, 50), np.nan), 100))
