"""The demo: its commands compose, a second run does only what is missing, and its page stands alone."""

import importlib
import json
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import ecg_signals.sample
import numpy as np
import pytest

from ecg_signals.cli.app import hydra_app, plain_sections
from ecg_signals.composition import resolve_config
from ecg_signals.evaluation.report.charts import Axis, Line, chart, log_ticks, read_metrics, ticks
from ecg_signals.evaluation.report.page import LabelScore, label_table, page, prediction_list
from ecg_signals.evaluation.report.records import by_record, measurable, measure
from ecg_signals.inference.calibrate import Validation, calibrate
from ecg_signals.interop.layout import ModelSource, get_layout
from ecg_signals.readers.read import read_record
from ecg_signals.registry import build
from ecg_signals.sheet.layout import layout
from ecg_signals.sheet.svg import svg
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.record import Record
from ecg_signals.signal.segments import segment_contract

TINY = {
    "encoder_layers": 1, "encoder_embed_dim": 16, "encoder_ffn_embed_dim": 16, "encoder_attention_heads": 2,
    "conv_feature_layers": "[(8, 8, 8)] * 2", "conv_pos": 8, "conv_pos_groups": 2,
}  # fmt: skip
FOLDER = Path(__file__).parents[1] / "examples" / "demo"


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("demo")


@pytest.fixture
def summary(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("summary")


def test_every_command_of_the_demo_composes(demo: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    for step in (step for step in demo.STEPS if "--config-name" in step.command):
        found: list[dict[str, Any]] = []

        def job(raw: Any, found: list[dict[str, Any]] = found) -> None:
            found.append(plain_sections(raw))

        command = re.sub(r"\$\(\(.*?\)\)", "71", step.command.replace("\\\n", " "))
        command = re.sub(r"\$\(cat .*?\)", "[1.0]", command)
        monkeypatch.setattr(sys, "argv", ["command"])
        hydra_app([*shlex.split(command)[1:], "hydra/job_logging=none"], "train")(job)()
        assert resolve_config(found[0]).model._name


def test_a_step_is_done_once_and_again_only_when_its_command_changes(
    demo: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    (tmp_path / demo.RUN).mkdir(parents=True)
    step = demo.Step("count", "says what it does", "echo run >> log; touch made", Path("made"))
    done: dict[str, Any] = {}
    demo.run_step(step, done)
    assert "$ echo run >> log; touch made" in capfd.readouterr().out
    demo.run_step(step, demo.read_done())
    demo.run_step(demo.Step("count", "says", "echo again >> log", Path("made")), demo.read_done())
    assert (tmp_path / "log").read_text().split() == ["run", "again"]
    with pytest.raises(SystemExit, match="ended with status 3"):
        demo.run_step(demo.Step("fail", "says", "exit 3", Path("never")), done)
    assert "fail" not in demo.read_done()


def test_the_page_needs_nothing_but_itself(tmp_path: Path):
    rows = [{"split": "train", "num_updates": k, "loss": 5.0 / k} for k in range(1, 9)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    curve = Line("train", *read_metrics(tmp_path / "metrics.jsonl", "train", "loss"))
    record = Record(np.random.default_rng(0).standard_normal((12, 5000)).astype(np.float32), 500, list(LEADS))
    scores = [
        LabelScore("A<B", "x & y", 30, 6, 0.75, 0.5, (0.6, 0.9)),
        LabelScore("Few", "", 3, 1, 1.0, 1.0, None),
        LabelScore("C", "", 0, 0, None, None, None),
    ]
    whole = page(
        "A title", "What it is.", [("tile", "0.5")],
        [
            ("Curves", chart("Loss", Axis("bits"), [curve])),
            ("Record", svg(layout(record, title="a record"), inline=True)),
            ("Labels", label_table(scores, 5) + prediction_list(["A<B", "C"], [0.9, 0.1], {"C"}, {})),
        ],
    )  # fmt: skip
    assert not re.search(r"https?://|<script|<link|src=|@import", whole)
    assert "A&lt;B" in whole and "A<B" not in whole and "0.750" in whole and "0.60 to 0.90" in whole
    assert re.findall(r'<tr class=few><th scope="row">(\w+)', whole) == ["Few"] and "of them: C." in whole


def test_a_chart_s_points_lie_inside_its_frame():
    drawn = chart("t", Axis("y"), [Line("a", [1, 2, 300], [-4.0, 0.0, 7.5]), Line("b", [5], [1.0])])
    pairs = " ".join(re.findall(r'points="(.*?)"', drawn)).split()
    points = [tuple(map(float, pair.split(","))) for pair in pairs]
    assert len(points) == 4
    assert all(54 <= x <= 528 and 14 <= y <= 230 for x, y in points)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (3.2, 3.9), (-250.0, 10.0), (2.0, 2.0), (1e-5, 4e-5)])
def test_ticks_are_few_and_span_the_values(low: float, high: float):
    found = ticks(low, high)
    assert found[0] <= low and found[-1] >= high - 1e-12
    assert 2 <= len(found) <= 8


def test_ticks_of_ratios_are_round_and_span_the_values():
    assert log_ticks(170, 17_000) == [100, 200, 500, 1000, 2000, 5000, 10_000, 20_000]
    assert log_ticks(3, 4) == [2, 5] and log_ticks(1, 1) == [1, 2] and log_ticks(1e-3, 1e4)[0] == 1e-3


def test_a_curve_without_values_leaves_its_chart_empty():
    drawn = chart("t", Axis("y"), [Line("a", [1, 2, 3], [1.0, float("nan"), 2.0]), Line("b", [], [])])
    assert "nan" not in drawn and len(re.findall(r'points="(.*?)"', drawn)[0].split()) == 2
    chart("t", Axis("y"), [Line("a", [], [])])


def test_the_test_split_is_scored_by_record():
    logits = np.log([[1.0, 1], [3, 1], [9, 1]]) * [1, 0]  # probabilities 0.5, 0.75, 0.9
    targets = np.array([[1, 0], [1, 0], [0, 1]])
    names, probabilities, truth = by_record(["b_0.mat", "b_1.mat", "a_0.mat"], logits, targets)
    assert names == ["a", "b"] and truth.tolist() == [[0, 1], [1, 0]]
    np.testing.assert_allclose(probabilities, [[0.9, 0.5], [0.625, 0.5]])


def test_labels_of_few_records_stay_out_of_the_headline_and_its_interval_is_that_of_the_others():
    rng = np.random.default_rng(0)
    targets = np.zeros((40, 4))
    targets[:20, 0], targets[:5, 1], targets[:4, 2], targets[:36, 3] = 1, 1, 1, 1
    assert measurable(targets).tolist() == [True, True, False, False]
    probabilities = targets + rng.standard_normal(targets.shape)
    found, headline = measure("ABCD", probabilities, targets, np.arange(40) // 2)
    low, high = headline.mean_ends["auroc"]
    assert 0 < low < found.values["auroc"][:2].mean() < high <= 1 and found.ends["auroc"].shape == (2, 4)
    assert headline.labels == ["A", "B"] and headline.means["auroc"] == found.values["auroc"][:2].mean()
    probabilities[:, 2:] = 0.5
    again = measure("ABCD", probabilities, targets, np.arange(40) // 2)[1]
    np.testing.assert_array_equal(again.mean_ends["auroc"], headline.mean_ends["auroc"])


def calibrated_model(path: Path) -> None:
    """A tiny classifier of three labels, calibrated on drawn answers."""
    rng = np.random.default_rng(0)
    logits, targets = rng.standard_normal((12, 3)), (rng.random((12, 3)) < 0.5).astype(float)
    found = calibrate(Validation(logits, logits, targets, np.arange(12), "valid", ""), [0.5, 0.0, 0.0])
    model = build("model", "ecg_transformer_classifier", num_labels=3, no_pretrained_weights=True, **TINY)
    options = {key: value for key, value in model.cfg.to_dict().items() if key != "_name"}
    made = ModelSource("ecg_transformer_classifier", options, model.state_dict(), ["A", "B", "C"], segment_contract(),
                       logit_kind="labels", calibration=found)  # fmt: skip
    get_layout("ecg_signals").save(made, path)


def test_the_summary_names_records_positives_interval_and_what_the_loss_is(
    summary: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run, rng = tmp_path / "run", np.random.default_rng(0)
    targets = np.zeros((24, 3), dtype=np.int64)
    targets[:12, 0], targets[:2, 1] = 1, 1
    files = {
        "data/manifest/test.tsv": "/root\n" + "".join(f"r{k // 2}_{k % 2}.mat\t2500\n" for k in range(24)),
        "data/meta_split.csv": "save_file,patient_id\n" + "".join(f"r{k}.mat,{k // 2}\n" for k in range(12)),
        "data/labels/label_def.csv": "name,pos_count_train\n" + "A,30\nB,2\nC,0\n",
    }
    for name, text in files.items():
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(text)
    for name in ("pretrain", "finetune"):
        (run / name / "checkpoints").mkdir(parents=True)
        rows = [
            {"split": s, "num_updates": k, "loss": 9.0 - k, "loss_0": 5.0} for k in (1, 2) for s in ("train", "valid")
        ]
        (run / name / "checkpoints/metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run / "test").mkdir()
    np.save(run / "test/outputs_test.npy", rng.standard_normal((24, 3)))
    np.save(run / "test/targets_test.npy", targets)
    (run / "data/org").mkdir()
    from scipy.io import savemat

    signal = read_record(sorted(Path(next(iter(ecg_signals.sample.__path__))).rglob("*.hea"))[0]).signal
    savemat(run / "data/org/r0.mat", {"feats": signal.astype(np.float32), "curr_sample_rate": 500.0})
    calibrated_model(run / "calibrated.pt")
    root, steps = FOLDER.parents[1], ("preprocess", "pretrain", "finetune", "calibrate", "validate")
    summary.summarise(root, run, {name: {"command": "c", "seconds": 1.0} for name in steps})
    said = capsys.readouterr().out
    assert "12 records, over the 1 labels" in said and "positive records: A 6" in said and "95 % interval" in said
    assert "expected calibration error before → after ecg-calibrate: 12 validation records" in said
    page = (run / "report.html").read_text(encoding="utf-8")
    assert page.count('<svg class="ecg"') == 2 and "why " in page and "Answers to the test records" in page
    for text in (said, page):
        assert "sum of four terms" in text and "toy model" in text.lower() and "loss, bits per masked frame" not in text
