"""What the demo found, from the files its commands wrote: printed in short, and as one HTML page."""

import csv
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import report

from ecg_signals import read_record
from ecg_signals.metrics.base import mean_defined
from ecg_signals.metrics.bootstrap import intervals, resampled_groups
from ecg_signals.metrics.ranking import RankingMetrics, ranking_metrics

LEAST = 5  # records that must have a label, and as many that must lack it, before the headline counts it
ROUNDS = 1000  # of the bootstrap
SUM = "the sum of four terms"  # contrast of masked frames, use of the codebook, size of features, contrast of segments
TOY = "A toy model on a small sample: it shows that everything works, not how good a model can be."


def read_manifest(path: Path) -> list[str]:
    """Files of a manifest, in order."""
    return [line.split("\t")[0] for line in path.read_text().splitlines()[1:]]


def by_record(
    files: Sequence[str], outputs: np.ndarray, targets: np.ndarray
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names of the records, their probabilities [records, labels] and targets, from logits [segments, labels].

    A record's probability is the mean over its segments, as `ecg-predict` says it.
    """
    stems = [name.rsplit("_", 1)[0] for name in files]
    names, first, record = np.unique(stems, return_index=True, return_inverse=True)
    probabilities = np.zeros((len(names), outputs.shape[1]))
    np.add.at(probabilities, record, 1 / (1 + np.exp(-outputs.astype(np.float64))))
    return list(names), probabilities / np.bincount(record)[:, None], targets[first]


def measurable(targets: np.ndarray) -> np.ndarray:
    """[labels]: whether LEAST records have the label and LEAST lack it."""
    return np.minimum((targets == 1).sum(axis=0), (targets == 0).sum(axis=0)) >= LEAST


def measure(
    probabilities: np.ndarray, targets: np.ndarray, patients: np.ndarray
) -> tuple[RankingMetrics, dict[str, np.ndarray]]:
    """Both areas per label, and 95 % intervals of `macro` [2] and of every label's `auroc` [2, labels].

    Patients are drawn with replacement, each with all records; `macro` is the mean over the measurable labels.
    """
    headline = measurable(targets)

    def statistic(chosen: np.ndarray) -> dict[str, np.ndarray | float]:
        auroc = ranking_metrics(probabilities[chosen], targets[chosen]).auroc
        return {"auroc": auroc, "macro": mean_defined(auroc[headline])}

    items = resampled_groups(patients, ROUNDS, seed=0)
    return ranking_metrics(probabilities, targets), intervals(statistic, items)


def label_scores(
    data: Path, names: list[str], probabilities: np.ndarray, targets: np.ndarray, meanings: Mapping[str, str]
) -> tuple[list[report.LabelScore], np.ndarray]:
    """One row per label, and the 95 % interval of the headline, from [records, labels] of the test split."""
    with (data / "meta_split.csv").open(newline="") as file:
        patient = {Path(row["save_file"]).stem: row["patient_id"] for row in csv.DictReader(file)}
    found, spans = measure(probabilities, targets, np.array([patient[name] for name in names]))
    headline = measurable(targets)
    with (data / "labels/label_def.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    scores = [
        report.LabelScore(
            row["name"], meanings.get(row["name"], ""), int(float(row["pos_count_train"])), int(found.positives[k]),
            None if np.isnan(found.auroc[k]) else float(found.auroc[k]),
            None if np.isnan(found.average_precision[k]) else float(found.average_precision[k]),
            (float(spans["auroc"][0, k]), float(spans["auroc"][1, k])) if headline[k] else None,
        )
        for k, row in enumerate(rows)
    ]  # fmt: skip
    return scores, spans["macro"]


def example(
    run: Path, scores: list[report.LabelScore], names: list[str], probabilities: np.ndarray, targets: np.ndarray
) -> str:
    """The first test record on paper, with what the model says of it."""
    labels = [score.name for score in scores]
    truth = {labels[k] for k in np.flatnonzero(targets[0] == 1)}
    record = read_record(run / "data/org" / f"{names[0]}.mat")
    meanings = {score.name: score.meaning for score in scores}
    said = report.prediction_list(labels, list(probabilities[0]), truth, meanings)
    return f'<div class="card">{report.ecg(record)}</div><div class="card"><p class="note">{TOY}</p>{said}</div>'


def charts(run: Path) -> str:
    before, after = (run / name / "checkpoints/metrics.jsonl" for name in ("pretrain", "finetune"))

    def curve(path: Path, name: str, split: str, key: str) -> report.Series:
        return (name, *report.read_metrics(path, split, key))

    figures = [
        report.chart(
            "Pretraining",
            f"loss, {SUM}",
            [curve(before, "train", "train", "loss"), curve(before, "valid", "valid", "loss")],
        ),
        report.chart(
            "Pretraining",
            "accuracy among 100 distractors",
            [curve(before, "train", "train", "accuracy"), curve(before, "valid", "valid", "accuracy")],
        ),
        report.chart(
            "Fine-tuning",
            "weighted BCE, bits per label",
            [curve(after, "train", "train", "loss"), curve(after, "valid", "valid", "loss")],
        ),
        report.chart("Fine-tuning", "macro AUROC of validation segments", [curve(after, "valid", "valid", "auroc")]),
    ]
    return f'<div class="charts">{"".join(figures)}</div>'


def summarise(root: Path, run: Path, done: Mapping[str, Any]) -> None:
    """Print the result in a few lines and write `run`/report.html."""
    sample, run = root / "examples/sample", root / run
    outputs, targets = np.load(run / "test/outputs_test.npy"), np.load(run / "test/targets_test.npy")
    names, probabilities, targets = by_record(read_manifest(run / "data/manifest/test.tsv"), outputs, targets)
    meanings = report.statement_meanings(sample / "scp_statements.csv")
    scores, span = label_scores(run / "data", names, probabilities, targets, meanings)
    headline = sorted((score for score in scores if score.interval is not None), key=lambda score: -score.test)
    macro = f"{mean_defined(np.array([score.auroc for score in headline], dtype=float)):.3f}"
    between = f"95 % interval {span[0]:.2f} to {span[1]:.2f}"
    positives = ", ".join(f"{score.name} {score.test}" for score in headline) or "none"
    log = run / "pretrain/checkpoints/metrics.jsonl"
    losses, contrast = (report.read_metrics(log, "train", key)[1] for key in ("loss", "loss_0"))
    fall = f"{losses[0]:.2f} → {losses[-1]:.2f}"
    print(f"\npretraining loss {fall}, {SUM}; that of masked frames {contrast[0]:.2f} → {contrast[-1]:.2f} bits each")
    print(f"test macro AUROC {macro} ({between}) of {len(names)} records, over the {len(headline)} labels that")
    print(f"at least {LEAST} records have and {LEAST} lack; positive records: {positives}.\n{TOY}")
    tiles = [
        (f"macro AUROC of {len(names)} test records, {between}", macro),
        (f"labels in it, with their positive test records: {positives}", f"{len(headline)} of {len(scores)}"),
        (f"pretraining loss, {SUM}", fall),
        ("seconds for all commands", f"{sum(step['seconds'] for step in done.values()):.0f}"),
    ]
    first = example(run, scores, names, probabilities, targets)
    (run / "report.html").write_text(whole_page(run, scores, len(names), tiles, first, done), encoding="utf-8")


def whole_page(
    run: Path,
    scores: list[report.LabelScore],
    records: int,
    tiles: list[tuple[str, str]],
    first: str,
    done: Mapping[str, Any],
) -> str:
    commands = "\n\n".join(done[name]["command"] for name in ("preprocess", "pretrain", "finetune", "validate"))
    return report.page(
        "ecg-signals: the demo",
        f"92 real ECGs of PTB-XL. The model was pretrained without labels, fine-tuned on {len(scores)} labels, and "
        f"tested on {records} records of patients it never saw. {TOY}",
        tiles,
        [
            ("Training", charts(run)),
            ("The first test record", first),
            ("Every label, on the test patients", f'<div class="card">{report.label_table(scores, LEAST)}</div>'),
            ("The commands", f'<div class="card"><pre><code>{html.escape(commands)}</code></pre></div>'),
        ],
    )
