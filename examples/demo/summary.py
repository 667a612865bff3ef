"""What the demo found, from the files its commands wrote: printed in short, and as one HTML page."""

import csv
import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals import read_record
from ecg_signals.evaluation.report.charts import Axis, Line, chart, charts, read_metrics
from ecg_signals.evaluation.report.page import LabelScore, label_table, page
from ecg_signals.evaluation.report.records import LEAST, by_record, example, label_scores

SUM = "the sum of four terms"  # contrast of masked frames, use of the codebook, size of features, contrast of segments
TOY = "A toy model on a small sample: it shows that everything works, not how good a model can be."


def summarise(root: Path, run: Path, done: Mapping[str, Any]) -> None:
    """Print the result in a few lines and write `run`/report.html."""
    sample, run = root / "examples/sample", root / run
    outputs, targets = np.load(run / "test/outputs_test.npy"), np.load(run / "test/targets_test.npy")
    lines = (run / "data/manifest/test.tsv").read_text().splitlines()[1:]
    names, probabilities, targets = by_record([line.split("\t")[0] for line in lines], outputs, targets)
    with (sample / "scp_statements.csv").open(newline="") as file:
        meanings = {row[""]: row["description"] for row in csv.DictReader(file)}
    scores, results = label_scores(run / "data", names, probabilities, targets, meanings)
    headline = sorted((score for score in scores if score.interval is not None), key=lambda score: -score.test)
    macro = f"{results.means['auroc']:.3f}"
    between = "95 % interval {:.2f} to {:.2f}".format(*results.mean_ends["auroc"])
    positives = ", ".join(f"{score.name} {score.test}" for score in headline) or "none"
    log = run / "pretrain/checkpoints/metrics.jsonl"
    losses, contrast = (read_metrics(log, "train", key)[1] for key in ("loss", "loss_0"))
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
    record = read_record(run / "data/org" / f"{names[0]}.mat")
    first = example(record, scores, probabilities[0], targets[0], TOY)
    (run / "report.html").write_text(whole_page(run, scores, len(names), tiles, first, done), encoding="utf-8")


def whole_page(
    run: Path, scores: list[LabelScore], records: int, tiles: list[tuple[str, str]], first: str, done: Mapping[str, Any]
) -> str:
    before, after = (run / name / "checkpoints/metrics.jsonl" for name in ("pretrain", "finetune"))
    loss, accuracy = ([(split, key) for split in ("train", "valid")] for key in ("loss", "accuracy"))
    curves = charts(
        chart(title, Axis(name), [Line(split, *read_metrics(path, split, key)) for split, key in shown])
        for title, name, path, shown in (
            ("Pretraining", f"loss, {SUM}", before, loss),
            ("Pretraining", "accuracy among 100 distractors", before, accuracy),
            ("Fine-tuning", "weighted BCE, bits per label", after, loss),
            ("Fine-tuning", "macro AUROC of validation segments", after, [("valid", "auroc")]),
        )
    )
    commands = "\n\n".join(done[name]["command"] for name in ("preprocess", "pretrain", "finetune", "validate"))
    return page(
        "ecg-signals: the demo",
        f"92 real ECGs of PTB-XL. The model was pretrained without labels, fine-tuned on {len(scores)} labels, and "
        f"tested on {records} records of patients it never saw. {TOY}",
        tiles,
        [
            ("Training", curves),
            ("The first test record", first),
            ("Every label, on the test patients", f'<div class="card">{label_table(scores, LEAST)}</div>'),
            ("The commands", f'<div class="card"><pre><code>{html.escape(commands)}</code></pre></div>'),
        ],
    )
