"""ecg-test on a model that is of no family whose files are prepared: record files, cut as its input contract says."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from scipy.io import savemat

import ecg_signals
from ecg_signals.cli import test
from ecg_signals.config import ConfigError
from ecg_signals.evaluation.table import TableOptions, run_table
from ecg_signals.registry import build
from ecg_signals.signal.contract import SignalContract

LABELS = ["AF", "MI"]


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    tiny = {"encoder_layers": 1, "encoder_embed_dim": 16, "encoder_ffn_embed_dim": 16, "encoder_attention_heads": 2,
            "conv_feature_layers": "[(8, 2, 2)] * 4", "conv_pos": 8, "conv_pos_groups": 2}  # fmt: skip
    found = build("model", "ecg_transformer_classifier", **tiny, num_labels=2).eval()
    found.labels, found.logit_kind = list(LABELS), "labels"
    found.signal = SignalContract(250.0, window_samples=500, steps=[{"name": "resample", "method": "linear"}])
    return found


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Six records of two and a half windows at 500 Hz, and one shorter than a window; labels in another order."""
    rng = np.random.default_rng(0)
    for number in range(7):
        signal = rng.standard_normal((12, 700 if number == 6 else 2500)).astype(np.float32)
        savemat(tmp_path / f"r{number}.mat", {"feats": signal, "curr_sample_rate": 500.0})
    rows = {
        "filename": [f"r{number}.mat" for number in range(7)],
        "age": 50,
        "MI": [0, 1] * 3 + [0],
        "AF": [1, 1, 0] * 2 + [0],
    }
    pandas.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    return tmp_path / "t.csv"


def probabilities(model: Any, path: Path) -> torch.Tensor:
    source, mask = model.signal.prepare(ecg_signals.read_record(path), return_mask=True)
    with torch.no_grad():
        return model(source, padding_mask=mask if mask.any() else None)["logits"]


@pytest.mark.filterwarnings("ignore:.*shorter than one window")
@pytest.mark.parametrize("how", [None, "max", "mean_logits"])
def test_windows_of_a_record_make_one_answer_together(model: Any, table: Path, tmp_path: Path, how: str | None) -> None:
    options = TableOptions(str(table), out=str(tmp_path), label_start_index=2, save_probabilities=True, batch_size=1,
                           aggregation=how)  # fmt: skip
    outcome = run_table(model, options)
    for number in range(7):
        logits = probabilities(model, tmp_path / f"r{number}.mat")
        wanted = {
            None: logits.sigmoid().mean(0),
            "max": logits.sigmoid().amax(0),
            "mean_logits": logits.mean(0).sigmoid(),
        }
        found = np.load(tmp_path / f"probs/t/probs_{number}_bs1.npy")
        np.testing.assert_allclose(found[0], wanted[how], rtol=1e-6)
    rows = pandas.read_csv(outcome.path, index_col=0)
    assert list(rows.columns) == LABELS and rows.index[0] == "test_f1_score" and len(outcome.said) == 6


def test_labels_may_say_that_the_highest_window_counts(model: Any, table: Path, tmp_path: Path) -> None:
    whole = TableOptions(str(table), out=str(tmp_path / "a"), label_start_index=2, save_probabilities=True)
    model.signal.aggregate = {"AF": "max"}
    try:
        run_table(model, whole)
    finally:
        model.signal.aggregate = {}
    found = np.load(tmp_path / "a/probs/t/probs_0_bs64.npy")[0]
    each = probabilities(model, tmp_path / "r0.mat").sigmoid()
    np.testing.assert_allclose(found, [each[:, 0].max(), each[:, 1].mean()], rtol=1e-5)


def test_crops_lie_inside_twice_a_window(model: Any, table: Path, tmp_path: Path) -> None:
    options = {"out": str(tmp_path), "label_start_index": 2, "save_probabilities": True, "crops": 4}
    run_table(model, TableOptions(str(table), **options))
    first = np.load(tmp_path / "probs/t/probs_0_bs64.npy")
    run_table(model, TableOptions(str(table), **options, seed=7))
    assert not np.array_equal(first, np.load(tmp_path / "probs/t/probs_0_bs64.npy")) and first.shape == (7, 2)


def test_the_command_names_its_metrics(model: Any, table: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("ecg_signals.checkpoint.load.load_model", lambda *source, **options: model)
    words = [str(table), "--model", "m.pt", "--out", str(tmp_path), "--label-start-index", "2", "--intervals", "5"]
    test.run([*words, "--metrics", "auroc", "recall"])
    path = tmp_path / "performance/performance_test.csv"
    assert list(pandas.read_csv(path, index_col=0).index) == ["test_auroc", "test_recall"]
    said = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in said] == ["auroc", "recall", "written"] and "(mean over labels)" in said[0]
    ends = pandas.read_csv(tmp_path / "performance/performance_test_intervals.csv", index_col=0)
    assert list(ends.index) == ["test_auroc_low", "test_auroc_high", "test_recall_low", "test_recall_high"]


def test_a_class_that_no_record_has_is_named(model: Any, table: Path, tmp_path: Path) -> None:
    rows = pandas.read_csv(table).assign(kind=0).drop(columns=LABELS)
    rows.to_csv(tmp_path / "kinds.csv", index=False)
    model.logit_kind = "classes"
    try:
        said = run_table(
            model,
            TableOptions(str(tmp_path / "kinds.csv"), out=str(tmp_path), label_start_index=2, metrics=["recall"]),
        ).said
    finally:
        model.logit_kind = "labels"
    assert said[-1].endswith("(mean over labels; without a value: '1')")


def test_what_is_missing_is_one_error(model: Any, table: Path) -> None:
    contract, model.signal = model.signal, None
    try:
        with pytest.raises(ConfigError, match="states no input contract"):
            run_table(model, TableOptions(str(table)))
    finally:
        model.signal = contract
    (table.parent / "r0.mat").unlink()
    with pytest.raises(ConfigError, match=r"r0\.mat"):
        run_table(model, TableOptions(str(table), label_start_index=2))
