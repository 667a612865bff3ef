"""What the demo found, from the files its commands wrote: printed in short, and as one HTML page."""

import csv
import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import report

from ecg_signals import read_record
from ecg_signals.metrics.ranking import micro_ranking_metrics, ranking_metrics


def read_manifest(path: Path) -> list[str]:
    """Files of a manifest, in order."""
    return [line.split("\t")[0] for line in path.read_text().splitlines()[1:]]


def label_scores(
    data: Path, outputs: np.ndarray, targets: np.ndarray, meanings: Mapping[str, str]
) -> list[report.LabelScore]:
    """One row per label, from logits and targets [segments, labels] of the test split."""
    found = ranking_metrics(outputs, targets)
    with (data / "labels/label_def.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        report.LabelScore(
            row["name"], meanings.get(row["name"], ""), int(float(row["pos_count_train"])), int(found.positives[k]),
            None if np.isnan(found.auroc[k]) else float(found.auroc[k]),
            None if np.isnan(found.average_precision[k]) else float(found.average_precision[k]),
        )
        for k, row in enumerate(rows)
    ]


def example(run: Path, scores: list[report.LabelScore], outputs: np.ndarray, targets: np.ndarray) -> str:
    """The first test record on paper, with what the model says of it (mean over its segments)."""
    files = read_manifest(run / "data/manifest/test.tsv")
    stem = files[0].rsplit("_", 1)[0]
    rows = [k for k, name in enumerate(files) if name.rsplit("_", 1)[0] == stem]
    probabilities = (1 / (1 + np.exp(-outputs[rows]))).mean(axis=0)  # [labels]
    names = [score.name for score in scores]
    truth = {names[k] for k in np.flatnonzero(targets[rows[0]])}
    record = read_record(run / "data/org" / f"{stem}.mat")
    said = report.prediction_list(names, list(probabilities), truth, {score.name: score.meaning for score in scores})
    return f'<div class="card">{report.ecg(record)}</div><div class="card">{said}</div>'


def charts(run: Path) -> str:
    before, after = (run / name / "checkpoints/metrics.jsonl" for name in ("pretrain", "finetune"))

    def curve(path: Path, name: str, split: str, key: str) -> report.Series:
        return (name, *report.read_metrics(path, split, key))

    figures = [
        report.chart(
            "Pretraining", "bits per masked frame",
            [curve(before, "train", "train", "loss"), curve(before, "valid", "valid", "loss")],
        ),
        report.chart(
            "Pretraining", "accuracy among 100 distractors",
            [curve(before, "train", "train", "accuracy"), curve(before, "valid", "valid", "accuracy")],
        ),
        report.chart(
            "Fine-tuning", "weighted BCE, bits per label",
            [curve(after, "train", "train", "loss"), curve(after, "valid", "valid", "loss")],
        ),
        report.chart("Fine-tuning", "macro AUROC on validation patients", [curve(after, "valid", "valid", "auroc")]),
    ]
    return f'<div class="charts">{"".join(figures)}</div>'


def summarise(root: Path, run: Path, done: Mapping[str, Any]) -> None:
    """Print the result in three lines and write `run`/report.html."""
    sample, run = root / "examples/sample", root / run
    outputs, targets = np.load(run / "test/outputs_test.npy"), np.load(run / "test/targets_test.npy")
    scores = label_scores(run / "data", outputs, targets, report.statement_meanings(sample / "scp_statements.csv"))
    defined = [score for score in scores if score.auroc is not None]
    macro = np.mean([score.auroc for score in defined if score.auroc is not None])
    micro, _ = micro_ranking_metrics(outputs, targets)
    _, losses = report.read_metrics(run / "pretrain/checkpoints/metrics.jsonl", "train", "loss")
    seconds = sum(step["seconds"] for step in done.values())
    print(f"\npretraining loss {losses[0]:.2f} -> {losses[-1]:.2f} bits per masked frame")
    print(f"test macro AUROC {macro:.3f} over {len(defined)} labels that both occur and lack there; micro {micro:.3f}")
    commands = "\n\n".join(done[name]["command"] for name in ("preprocess", "pretrain", "finetune", "validate"))
    (run / "report.html").write_text(
        report.page(
            "ecg-signals: the demo",
            f"92 real ECGs of PTB-XL. The model was pretrained without labels, fine-tuned on {len(scores)} labels, and "
            f"tested on {len(outputs)} segments of patients it never saw. A sample this small shows that everything "
            f"works, not how good a model can be.",
            [
                (f"macro AUROC over {len(defined)} labels, test", f"{macro:.3f}"),
                ("micro AUROC, test", f"{micro:.3f}"),
                ("pretraining loss, bits per masked frame", f"{losses[0]:.2f} → {losses[-1]:.2f}"),
                ("seconds for all commands", f"{seconds:.0f}"),
            ],
            [
                ("Training", charts(run)),
                ("The first test record", example(run, scores, outputs, targets)),
                ("Every label, on the test patients", f'<div class="card">{report.label_table(scores)}</div>'),
                ("The commands", f'<div class="card"><pre><code>{html.escape(commands)}</code></pre></div>'),
            ],
        )
    )
