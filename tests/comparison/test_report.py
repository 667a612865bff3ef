"""The report of ecg-eval on invented results: its numbers, what it says plainly, and that it needs nothing else."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from ecg_signals.comparison.report.content import Answers
from ecg_signals.comparison.report.examples import worst
from ecg_signals.comparison.report.write import write_report
from ecg_signals.comparison.tables import collect
from ecg_signals.evaluation.benchmarks.base import METRICS
from ecg_signals.evaluation.results import plain_json
from ecg_signals.metrics.logits import CLASSES, LABELS, VALUES
from ecg_signals.metrics.results import compare, evaluate

KINDS = {"multi_label": LABELS, "multi_class": CLASSES, "regression": VALUES}
SUPER = "ptbxl/superdiagnostic"
NAMES = ["CD", "HYP", "MI", "NORM", "<b>&X"]


def truth(kind: str, labels: int, records: int) -> np.ndarray:
    """[records, labels]; of several labels the last is one that no record has."""
    rng = np.random.default_rng(5)
    if kind == "regression":
        return rng.uniform(20, 90, (records, labels))
    if kind == "multi_class":
        return np.eye(labels)[rng.integers(labels, size=records)]
    found = (rng.random((records, labels)) < np.linspace(0.5, 0.15, labels)).astype(float)
    found[:, -1] = 0
    return found


def write_run(
    out: Path, data: Path | None, *, benchmark: str = SUPER, protocol: str = "linear", model: str = "a",
    fraction: str = "1", seed: int = 1, skill: float = 1.0, kind: str = "multi_label", labels: Sequence[str] = NAMES,
    test_on: str = "", records: int = 30, updates: int = 3, patients: bool = True, trained: int | None = None,
    asked: Sequence[str] = (),
) -> None:  # fmt: skip
    """Files of one finished run."""
    folder = out / "runs" / benchmark / protocol / model / fraction / f"seed{seed}"
    folder = folder / "test_on" / test_on if test_on else folder
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"recipe": {"dataset": {"batch_size": 8}, "model": {"_name": "classifier"}}, "state": "best",
                "test_on": {name: {} for name in asked}}  # fmt: skip
    (out / "runs" / benchmark / protocol / model / fraction / f"seed{seed}" / "settings.json").write_text(
        json.dumps(settings)
    )
    targets = truth(kind, len(labels), records)
    rng = np.random.default_rng([seed, sum(map(ord, benchmark + protocol + model + fraction))])
    noise = rng.standard_normal(targets.shape)
    scores = targets + 20 / skill * noise
    if kind != "regression":
        scores = 1 / (1 + np.exp(-skill * (2 * targets - 1) - noise))
    if kind == "multi_class":
        scores /= scores.sum(axis=1, keepdims=True)
    owners = np.array([f"p{row // 2}" if patients else "" for row in range(records)])
    files = [str((data or out) / "org" / f"ptbxl_{row % 36:05d}.mat") for row in range(records)]
    np.savez(folder / "predictions.npz", ids=np.array([f"r{row:05d}" for row in range(records)]), patients=owners,
             targets=targets, scores=scores, labels=np.array(labels), files=np.array(files))  # fmt: skip
    asked = targets.argmax(axis=1) if kind == "multi_class" else targets
    found = evaluate(scores, asked, list(labels), KINDS[kind], metrics=METRICS[KINDS[kind]], owners=None)
    rows = {str(row.pop("label")): row for row in map(dict, found.rows())}
    constant = [label for label, row in rows.items() if row["positives"] in (0, row["known"])]
    curve = [{"update": k, "loss": 1 / (k + skill), "metric": 0.9 - 0.4 / (k + skill)} for k in range(1, updates + 1)]
    result = {
        "benchmark": benchmark, "protocol": protocol, "model": model, "fraction": fraction, "seed": seed,
        "test_on": test_on or benchmark, "labels": list(labels), "kind": kind, "metrics": found.means,
        "per_label": rows, "undefined": [] if kind == "regression" else constant, "seconds": 12.3, "curve": curve,
        "counts": {"train": trained or round(float(fraction) * 400), "valid": 50, "test": records},
        "selection": {"metric": "loss" if kind == "regression" else "auroc", "value": 0.7, "update": 2},
        "versions": {"ecg_signals": "1.0", "torch": "2.0"},
        "settings": settings,
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(plain_json(result)))
    splits = out / "splits" / folder.relative_to(out / "runs")
    splits.mkdir(parents=True, exist_ok=True)
    (splits / "counts.json").write_text("{}")


def report(out: Path, rounds: int = 20) -> str:
    collect(out, rounds)
    return write_report(out, rounds).read_text()


def section(page: str, number: int) -> str:
    return page[page.index(f'<section id="s{number}"') :].partition("</section>")[0]


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL))


@pytest.fixture(scope="module")
def compared(small_ptbxl: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Two models and two seeds, of which one is better by far."""
    out = tmp_path_factory.mktemp("compared")
    for model, skill in (("weak", 0.1), ("strong<i>", 1.5)):
        for seed in (1, 2):
            write_run(out, small_ptbxl, model=model, seed=seed, skill=skill)
    return out, report(out)


def test_the_page_needs_nothing_but_itself_and_text_of_strangers_stays_text(compared: tuple[Path, str]):
    page = compared[1]
    assert not re.search(r"https?://|<script|<link|<img|src=|@import|url\(", page)
    assert "strong<i>" not in page and "strong&lt;i&gt;" in page and "<b>&X" not in page and "&lt;b&gt;&amp;X" in page
    for drawing in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(drawing.replace("aria-hidden", "hidden"))
    assert all("<title>" in one for one in re.findall(r'<svg[^>]*role="img".*?</svg>', page, re.DOTALL))
    tags = re.findall(r"<th\b[^>]*>", page)
    assert tags and all("scope=" in tag for tag in tags)


def test_the_leaderboard_says_mean_deviation_and_interval_best_first(compared: tuple[Path, str]):
    out, page = compared
    rows = json.loads((out / "results.json").read_text())["summary"]
    lines = text_of(section(page, 1))
    for row in rows:
        value = f"{row['mean']['auroc']:.3f} ± {row['std']['auroc']:.3f}"
        assert value in lines and "{:.3f} to {:.3f}".format(*row["interval"]) in lines
        assert f"{row['mean']['ece']:.3f} {row['mean']['brier']:.3f}" in lines and "ECE Brier" in lines
    assert lines.index("strong") < lines.index("weak")
    assert "30 test records of 15 patients; patients are drawn" in lines


def test_labels_without_value_are_listed_and_in_no_mean(compared: tuple[Path, str]):
    lines = text_of(compared[1])
    content = json.loads((compared[0] / "results.json").read_text())
    table = pd.read_csv(compared[0] / "results.csv")
    for run in [*content["runs"], *content["summary"]]:
        assert run["undefined"] == ["<b>&X"]
    for run, stored in zip(content["runs"], table["undefined"]):
        assert run["per_label"]["<b>&X"]["auroc"] is None and stored == "<b>&X"
        defined = [run["per_label"][label]["auroc"] for label in NAMES[:4]]
        assert run["metrics"]["auroc"] == pytest.approx(np.mean(defined))
    assert "the plain mean over the 4 labels that define a value" in lines
    assert "Undefined, and in no mean , since all test records have them or none has: &lt;b&gt;&amp;X." in lines
    row = re.search(r'<tr class=few><th scope="row">&lt;b&gt;&amp;X</th>(.*?)</tr>', compared[1])
    assert row and row.group(1).count(">–<") == 2


def test_the_best_is_compared_with_the_others_on_the_same_patients(compared: tuple[Path, str], tmp_path: Path):
    out, page = compared
    both = [[np.load(path) for path in sorted((out / "runs" / SUPER / "linear" / name).rglob("*.npz"))]
            for name in ("strong<i>", "weak")]  # fmt: skip
    tables = [np.concatenate([one["scores"] for one in seeds], axis=1) for seeds in both]
    targets = np.tile(both[0][0]["targets"], 2)
    found = compare((tables[0], tables[1]), targets, list("abcdefghij"), LABELS, metrics=["auroc"],
                    owners=both[0][0]["patients"], rounds=20)["auroc"]  # fmt: skip
    assert f"+{found.value:.3f} +{found.low:.3f} to +{found.high:.3f} better" in text_of(page)
    for model in "ab":
        write_run(tmp_path, None, model=model, skill=1.0)
    assert "not distinguishable" in report(tmp_path)
    assert "Is the best one better" not in report(tmp_path, rounds=0)


def test_published_numbers_stand_beside_ours_with_what_keeps_them_apart(compared: tuple[Path, str]):
    lines = text_of(compared[1])
    assert "resnet1d_wang scratch 0.930 ± 0.005 Strodthoff et al. 2021" in lines
    assert "Another test set: 30 records here, about 2,158 in the published benchmark" in lines
    assert "trained on 400 records, for 3 updates" in lines and "0.06 passes" in lines


def test_what_was_tested_as_it_is_was_trained_on_nothing_that_is_known(tmp_path: Path):
    write_run(tmp_path, None, protocol="as_is", updates=0)
    lines = text_of(section(report(tmp_path), 1))
    assert "Ours were trained" not in lines and "passes over" not in lines
    assert re.search(r" 1 – \d ", lines)  # seeds, training records, undefined labels
    write_run(tmp_path, None, protocol="linear")
    lines = text_of(section(report(tmp_path), 1))
    assert "Ours were trained on 400 records, for 3 updates" in lines and re.search(r" 1 400 \d ", lines)


def test_the_worst_answers_are_drawn_and_a_record_that_is_gone_is_named(compared: tuple[Path, str], tmp_path: Path):
    sheets = re.findall(r'<svg class="ecg"[^>]*>\s*<title>(.*?)</title>', compared[1])
    answers = Answers.read(compared[0] / "runs" / SUPER / "linear" / "strong<i>" / "1" / "seed1" / "predictions.npz")
    record, label = next(worst(answers, 1, 2))
    known = answers.scores[:, :4][answers.targets[:, :4] == 1]
    assert answers.scores[record, label] == known.min() and len(sheets) == 4
    assert sheets[0].startswith(f"ECG {NAMES[label]} missed, probability {known.min():.3f}")
    assert "false alarm" in sheets[2]
    write_run(tmp_path, None)
    page = report(tmp_path)
    assert page.count("Not drawn:") == 4 and "ptbxl_000" in page


def test_failed_and_missing_runs_are_listed_and_the_others_shown(tmp_path: Path):
    write_run(tmp_path, None)
    failed = tmp_path / "runs" / SUPER / "linear" / "b" / "1" / "seed1"
    failed.mkdir(parents=True)
    (failed / "failed.json").write_text(json.dumps({"error": "loss <nan>"}))
    missing = tmp_path / "splits" / SUPER / "scratch" / "a" / "1" / "seed2"
    missing.mkdir(parents=True)
    (missing / "counts.json").write_text("{}")
    lines = text_of(report(tmp_path))
    assert "1 run finished; 1 failed, 1 without a result yet" in lines
    assert f"runs/{SUPER}/linear/b/1/seed1 loss &lt;nan&gt;" in lines
    assert f"runs/{SUPER}/scratch/a/1/seed2 no result yet" in lines


def test_what_failed_once_and_was_finished_later_has_not_failed(tmp_path: Path):
    write_run(tmp_path, None, test_on="ptbxl/form", asked=["ptbxl/form"])
    run = tmp_path / "runs" / SUPER / "linear" / "a" / "1" / "seed1"
    (run / "failed.json").write_text(json.dumps({"error": "out of memory"}))
    assert list(collect(tmp_path, 0)["failed"]) == [str(run.relative_to(tmp_path))]  # its own test is not there
    write_run(tmp_path, None, asked=["ptbxl/form"])
    assert collect(tmp_path, 0)["failed"] == {}
    (run / "test_on" / "ptbxl" / "form" / "result.json").unlink()
    assert len(collect(tmp_path, 0)["failed"]) == 1


def test_nothing_finished_is_said(tmp_path: Path):
    (tmp_path / "runs").mkdir()
    assert "No run has a result yet" in report(tmp_path)


def test_parts_of_the_training_data_make_a_curve(tmp_path: Path):
    for fraction in ("0.01", "0.1", "1"):
        write_run(tmp_path, None, fraction=fraction, skill=1 + float(fraction))
    page = report(tmp_path)
    assert "Results by the number of training records" in page and "2 rows with less training data" in page
    drawn = re.search(r"<title>Label efficiency</title>(.*?)</svg>", page).group(1)
    x = [float(pair.split(",")[0]) for pair in re.search(r'points="(.*?)"', drawn).group(1).split()]
    assert len(x) == 3 and x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.2)  # ratios are distances


def test_a_row_with_fewer_usable_records_of_the_same_part_is_still_placed_by_its_value(tmp_path: Path):
    write_run(tmp_path, None, model="weak", skill=0.1, trained=400)
    write_run(tmp_path, None, model="strong", skill=9, trained=390)
    write_run(tmp_path, None, model="strong", skill=9, fraction="0.5")
    lines = text_of(section(report(tmp_path), 1))
    assert lines.index("strong") < lines.index("weak") and "1 row with less training data" in lines


def test_values_are_shown_as_predictions_over_truth(tmp_path: Path):
    for model, skill in (("far", 1.0), ("near", 9.0)):
        write_run(tmp_path, None, benchmark="ptbxl/age", kind="regression", labels=["age"], model=model, skill=skill,
                  patients=False)  # fmt: skip
    page = report(tmp_path)
    lines = text_of(section(page, 1))
    assert "mean absolute error, lowest first" in lines and lines.index("near") < lines.index("far")
    assert "30 test records of unknown patients; records are drawn" in lines
    assert "Bland–Altman" in page and "ROC" not in page and "Undefined" not in page


def test_all_published_metrics_of_a_benchmark_are_shown(tmp_path: Path):
    write_run(tmp_path, None, benchmark="cpsc2018")
    lines = text_of(report(tmp_path))
    assert "0.974 ± 0.005" in lines and "0.819 ± 0.030" in lines and "0.602 ± 0.037" in lines
    assert "whether these are the papers' records is not checked" in lines.replace("&#x27;", "'")


def test_one_of_several_classes_and_another_test_set_have_sections_of_their_own(tmp_path: Path):
    write_run(tmp_path, None, benchmark="ptbxl/superdiagnostic_single", kind="multi_class")
    write_run(tmp_path, None, benchmark="ptbxl/all")
    write_run(tmp_path, None, benchmark="ptbxl/all", test_on="ptbxl/form")
    heads = re.findall(r"<h2>(.*?)</h2>", report(tmp_path))
    assert heads == ["At a glance", "ptbxl/all", "ptbxl/all, tested on ptbxl/form", "ptbxl/superdiagnostic_single",
                     "What was run"]  # fmt: skip


def test_the_size_of_the_page_does_not_grow_with_the_records(tmp_path: Path, small_ptbxl: Path):
    sizes = []
    for records in (100, 3000):
        out = tmp_path / str(records)
        write_run(out, small_ptbxl, records=records)
        sizes.append(len(report(out, rounds=2)))
    assert sizes[1] < 1.3 * sizes[0] < 600_000
