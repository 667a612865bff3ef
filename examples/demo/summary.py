"""What the demo found, from the files its commands wrote: printed in short, and as one HTML page."""

import csv
import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals import load_model, read_record
from ecg_signals.evaluation.report.charts import Axis, Line, chart, charts, read_metrics
from ecg_signals.evaluation.report.page import LabelScore, label_table, note, page, prediction_list
from ecg_signals.evaluation.report.records import LEAST, by_record, label_scores
from ecg_signals.inference.pictures import answered, explained
from ecg_signals.inference.predict import TOP, Predictor
from ecg_signals.metrics.calibration import calibration_bins
from ecg_signals.metrics.recalibration import pooled_error
from ecg_signals.sheet.svg import svg

SUM = "the sum of four terms"  # contrast of masked frames, use of the codebook, size of features, contrast of segments
TOY = "A toy model on a small sample: it shows that everything works, not how good a model can be."


def summarise(root: Path, run: Path, done: Mapping[str, Any]) -> None:
    """Print the result in a few lines and write `run`/report.html."""
    sample, run = root / "examples/sample", root / run
    outputs, targets = np.load(run / "test/outputs_test.npy"), np.load(run / "test/targets_test.npy")
    lines = (run / "data/manifest/test.tsv").read_text().splitlines()[1:]
    model = load_model(run / "calibrated.pt")
    files, calibration = [line.split("\t")[0] for line in lines], model.calibration
    names, probabilities, targets = by_record(files, outputs, targets)
    after = by_record(files, outputs, np.load(run / "test/targets_test.npy"), calibration)[1]
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
    stored, errors = calibration.stored, [pooled_error(targets, values) for values in (probabilities, after)]
    said = [f"{stored['n_records']} validation records {stored['ece_before']:.3f} → {stored['ece_after']:.3f}",
            "{} test records {:.3f} → {:.3f}".format(len(names), *errors)]  # fmt: skip
    print(f"\npretraining loss {fall}, {SUM}; that of masked frames {contrast[0]:.2f} → {contrast[-1]:.2f} bits each")
    print(f"test macro AUROC {macro} ({between}) of {len(names)} records, over the {len(headline)} labels that")
    print(f"at least {LEAST} records have and {LEAST} lack; positive records: {positives}.")
    print(f"expected calibration error before → after ecg-calibrate: {'; '.join(said)}.\n{TOY}")
    tiles = [
        (f"macro AUROC of {len(names)} test records, {between}", macro),
        (f"labels in it, with their positive test records: {positives}", f"{len(headline)} of {len(scores)}"),
        (f"pretraining loss, {SUM}", fall),
        ("expected calibration error of the test records, as trained → calibrated", "{:.3f} → {:.3f}".format(*errors)),
        ("seconds for all commands", f"{sum(step['seconds'] for step in done.values()):.0f}"),
    ]
    cards = {
        "Probabilities that come true": calibration_card(targets, probabilities, after, said),
        "The first test record": record_card(run, names[0], after[0], targets[0], meanings),
    }
    (run / "report.html").write_text(whole_page(run, scores, len(names), tiles, cards, done), encoding="utf-8")


def calibration_card(targets: np.ndarray, before: np.ndarray, after: np.ndarray, said: list[str]) -> str:
    """How often answers of the test records were right, by their probability."""
    lines = []
    for name, values in (("as trained", before), ("calibrated", after)):
        count, expected, positive = calibration_bins(targets.ravel(), values.ravel())
        some = count >= 5
        lines.append(Line(name, expected[some] / count[some], positive[some] / count[some], marks="with"))
    axes = Axis("share of labels that are there", (0.0, 1.0)), Axis("what the model says", (0.0, 1.0))
    drawn = chart("Answers to the test records", axes[0], lines, axes[1], diagonal=True)
    about = (
        "Training counted rare positives many times, so that the model says too much as it was trained. "
        f"Expected calibration error before → after: {'; '.join(said)}. Dots: five answers at least."
    )
    return f'{charts([drawn])}<div class="card">{note(html.escape(about))}</div>'


def record_card(
    run: Path, name: str, probabilities: np.ndarray, truth: np.ndarray, meanings: Mapping[str, str]
) -> str:
    """A record on paper with its answers, why the first of them was given, and what is true."""
    predictor = Predictor(run / "calibrated.pt")
    path = run / "data/org" / f"{name}.mat"
    record, found = read_record(path), predictor.predict(path, explain=TOP)
    sheets = [answered(record, found, title=name)]
    sheets += [explained(record, found, reason, title=name) for reason in found.reasons]
    drawn = "".join(f'<div class="card">{svg(sheet, inline=True)}</div>' for sheet in sheets)
    true = {predictor.labels[k] for k in np.flatnonzero(truth == 1)}
    listed = prediction_list(predictor.labels, list(probabilities), true, dict(meanings))
    return f'{drawn}<div class="card">{note(html.escape(TOY))}{listed}</div>'


def whole_page(
    run: Path,
    scores: list[LabelScore],
    records: int,
    tiles: list[tuple[str, str]],
    cards: Mapping[str, str],
    done: Mapping[str, Any],
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
    steps = ("preprocess", "pretrain", "finetune", "calibrate", "validate")
    commands = "\n\n".join(done[name]["command"] for name in steps)
    return page(
        "ecg-signals: the demo",
        f"92 real ECGs of PTB-XL. The model was pretrained without labels, fine-tuned on {len(scores)} labels, and "
        f"tested on {records} records of patients it never saw. {TOY}",
        tiles,
        [
            ("Training", curves),
            *cards.items(),
            ("Every label, on the test patients", f'<div class="card">{label_table(scores, LEAST)}</div>'),
            ("The commands", f'<div class="card"><pre><code>{html.escape(commands)}</code></pre></div>'),
        ],
    )
