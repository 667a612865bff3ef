"""Records as ecg-eval prepares them: equal to what a model's contract makes of them."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat, savemat
from small_data import write_data

from ecg_signals.comparison.models import usual_signal
from ecg_signals.comparison.signals import Prepared, prepare_records, read_stored
from ecg_signals.config import ConfigError
from ecg_signals.data.datasets.ecg_prepared import EcgPreparedConfig, EcgPreparedDataset
from ecg_signals.evaluation.benchmarks.data import DataSet
from ecg_signals.registry import register_benchmark
from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.millivolt import millivolt


@pytest.fixture
def without_v6(tmp_path: Path) -> DataSet:
    """Three records, of which the second has no V6."""
    folder = write_data(tmp_path / "ptbxl")
    path = folder / "org" / "ptbxl_00001.mat"
    signal = loadmat(path)["feats"]
    signal[-1] = np.nan
    savemat(path, {"feats": signal, "curr_sample_rate": 100, "idx": 1})
    return DataSet(folder, pd.read_csv(folder / "meta.csv").iloc[:3], tmp_path)


def prepared(data: DataSet, contract: SignalContract, place: Path) -> Prepared:
    return prepare_records(data, contract, place, 1)


@pytest.mark.parametrize("cut_first", [False, True])
def test_a_missing_lead_of_a_model_trained_with_lead_masking_is_zero(
    cut_first: bool, without_v6: DataSet, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    contract = replace(usual_signal(), zero_missing_leads=True)
    steps = contract.steps
    contract = replace(contract, steps=[*steps[:2], {"name": "window"}, *steps[2:]] if cut_first else steps)
    with caplog.at_level(logging.WARNING):
        found = prepared(without_v6, contract, tmp_path / "out")
    assert "missing leads are zero (1)" in caplog.text
    lines = [f"ptbxl_0000{row}.mat\t{found.samples[row]}\n" for row in range(3)]
    (tmp_path / "test.tsv").write_text(f"{found.folder}\n{''.join(lines)}")
    dataset = EcgPreparedDataset(EcgPreparedConfig(window_stride=125), tmp_path / "test.tsv")
    source = dataset.collate([dataset[row] for row in range(3)])["net_input"]["source"]
    assert not source[1, :, LEADS.index("V6")].any() and source[0, :, LEADS.index("V6")].all()
    for row in range(3):
        with pytest.warns(UserWarning) if row == 1 else np.errstate():
            wanted = contract.prepare(read_stored(without_v6.signal_file(row), LEADS))
        np.testing.assert_allclose(source[row], wanted, atol=1e-6)


@pytest.mark.parametrize("seconds", [6.0, 3.0, 1.0])
def test_the_first_seconds_of_a_record_are_read_and_zeros_where_a_window_is_longer(
    seconds: float, without_v6: DataSet, tmp_path: Path
):
    """As MERL's program reads CPSC 2018: 5 s, and zeros up to 10 s."""
    assert register_benchmark.get("merl/cpsc2018").cls.first_seconds == 5
    data = replace(without_v6, first_seconds=3.0)
    contract = replace(millivolt(100, seconds), zero_missing_leads=True)
    found = prepared(data, contract, tmp_path)
    assert found.folder != prepared(without_v6, contract, tmp_path).folder
    assert set(found.samples.values()) == {600 if seconds == 6 else 300}
    for row in found.samples:
        name = f"ptbxl_0000{row}.mat"
        made, raw = (loadmat(folder / name)["feats"] for folder in (found.folder, data.folder / "org"))
        np.testing.assert_allclose(made[:, :300], np.nan_to_num(raw[:, :300]), atol=1e-6)
        assert not made[:, 300:].any()


def test_a_record_without_a_lead_that_the_model_needs_is_left_out_and_counted(
    without_v6: DataSet, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.WARNING):
        assert list(prepared(without_v6, usual_signal(), tmp_path).samples) == [0, 2]
    assert "1 of 3 records" in caplog.text
    alone = DataSet(without_v6.folder, without_v6.meta.iloc[1:2], tmp_path)
    with pytest.raises(ConfigError, match=r"no record of .* can be prepared\. The first: the record has no V6"):
        prepared(alone, usual_signal(), tmp_path)
