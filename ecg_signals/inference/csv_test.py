"""A fine-tuned model on a CSV of labels: probabilities, also over several crops, and performance per label."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ecg_signals.config import ConfigError
from ecg_signals.data.datasets.hubert_csv import HubertCsvConfig, HubertCsvDataset, read_table
from ecg_signals.data.label_names import listed, matching_columns
from ecg_signals.data.loading import batches_in_order
from ecg_signals.files import replacing, writing
from ecg_signals.interop.hubert_ecg.contract import decimation_factor
from ecg_signals.limits import check_no_input, path_below
from ecg_signals.metrics.base import Scored, make_metrics, mean_defined, measure
from ecg_signals.metrics.bootstrap import intervals, resampled_items
from ecg_signals.metrics.condition_score import condition_score
from ecg_signals.metrics.logits import CLASSES, KINDS_OF_TASKS, LABELS, VALUES, probabilities_of
from ecg_signals.metrics.results import USUAL
from ecg_signals.signal.contract import stated_contract
from ecg_signals.signal.steps.hubert_ecg import decimation_of
from ecg_signals.tables import write_table

METRICS = {CLASSES: ("accuracy", "auroc", "recall", "specificity", "auprc")}  # published rows, where not the usual ones
CROP, LONG = 2500, 5000  # samples at 500 Hz: of the model's input, and of what crops are taken from


@dataclass(frozen=True)
class EvaluationOptions:
    """What `run_test` does.

    Attributes:
        csv, ecg_dir: the table and the folder of .npy files; None: the table's own.
        out: folder for results.
        task: "multi_label", "multi_class" or "regression"; None: what the model was trained for.
        label_start_index: columns before the labels, where the model does not know its labels' names.
        crops: crops per ECG (test-time augmentation); 0: the first 5 s.
        aggregation: "mean" or "max" of the crops' probabilities.
        save_id: part of the result files' names.
        save_probabilities: one .npy per batch, as published.
        rounds: of the bootstrap; 0: no intervals.
        challenge_weights: table of weights for the Challenge score of 2020.
        published_zeros: undefined values are 0 and count in means, as published.
    """

    csv: str
    ecg_dir: str | None = None
    out: str = "."
    task: str | None = None
    label_start_index: int = 3
    batch_size: int = 64
    workers: int = 0
    crops: int = 0
    aggregation: str = "mean"
    seed: int = 42
    save_id: str = "test"
    save_probabilities: bool = False
    rounds: int = 0
    challenge_weights: str | None = None
    published_zeros: bool = False


class Windows(Dataset[tuple[Tensor, int]]):
    """What the model's crops are taken from: decimated windows, and how many of their samples exist."""

    def __init__(self, table: HubertCsvDataset) -> None:
        self.table = table

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        window, found = self.table.window(index)
        return self.table.prepared(window, found)["source"], found // (self.table.cfg.downsampling_factor or 1)


def crop_starts(lengths: Sequence[int], crop: int, draws: np.random.RandomState) -> list[int]:
    """One random start per ECG, the same for all its leads; 0 where an ECG is no longer than a crop."""
    return [int(draws.randint(0, length - crop)) if length > crop else 0 for length in lengths]


def crops_of(windows: Tensor, lengths: Sequence[int], crop: int, count: int, draws: np.random.RandomState) -> Tensor:
    """Random crops of a batch, augmentation by augmentation.

    Args:
        windows: [batch, leads, samples].
        lengths: samples of each that exist.
        crop: samples per crop.
        count: crops per ECG.
        draws: gives the starts.
    Returns: [count, batch, leads, crop].
    """
    rounds = [crop_starts(lengths, crop, draws) for _ in range(count)]
    return torch.stack(
        [torch.stack([window[:, at : at + crop] for window, at in zip(windows, starts)]) for starts in rounds]
    )


@torch.inference_mode()
def predict_windows(
    model: Any,
    windows: Tensor,
    lengths: Sequence[int],
    options: EvaluationOptions,
    crop: int,
    draws: np.random.RandomState,
) -> Tensor:
    """Probabilities [batch, labels] of the first crop, or over `options.crops` random ones."""
    device, kind = next(model.parameters()).device, KINDS_OF_TASKS[options.task or "multi_label"]
    if not options.crops:
        return probabilities_of(model(windows.to(device))["logits"].float(), kind)
    crops = crops_of(windows, lengths, crop, options.crops, draws)
    per_crop = torch.stack([probabilities_of(model(part.to(device))["logits"].float(), kind) for part in crops])
    return per_crop.mean(dim=0) if options.aggregation == "mean" else per_crop.amax(dim=0)


def task_of(model: Any, asked: str | None) -> str:
    """The kind of task: the model's, which `asked` must agree with; multi_label where neither says.

    Raises: ConfigError when the model was trained for another one than is asked for.
    """
    trained = next((task for task, kind in KINDS_OF_TASKS.items() if kind == model.logit_kind), None)
    if asked and trained and asked != trained:
        raise ConfigError(f"--task {asked}, but the model was trained for {trained}; leave --task out")
    if not asked and not trained:
        print("the model does not say what its logits are: --task multi_label is assumed")
    return asked or trained or "multi_label"


def open_table(model: Any, options: EvaluationOptions) -> HubertCsvDataset:
    """The CSV, cropped and decimated as the model was trained; columns by the model's label names where it has them."""
    values = {
        "ecg_dir": options.ecg_dir,
        "label_columns": _columns_by_name(model, options) if options.task == "multi_label" else None,
        "label_start_index": options.label_start_index,
        "task_type": options.task,
        "decimation": decimation_of(stated_contract(model.signal, "MODEL").steps)[1],
        "downsampling_factor": decimation_factor(model.cfg.conv_stride),
        "window_samples": LONG if options.crops else CROP,
        "random_crop_valid": bool(options.crops),
        "attention_mask": "none",
    }
    return HubertCsvDataset(HubertCsvConfig.from_mapping(values), options.csv, seed=options.seed)


def _columns_by_name(model: Any, options: EvaluationOptions) -> list[str] | None:
    """The model's labels as columns of the CSV, wherever they stand; None where the model does not name them."""
    columns = list(map(str, read_table(options.csv).columns))
    last = columns[options.label_start_index :]
    if not model.labels:
        print(f"the model does not name its labels: the columns are taken in order, {listed(last)}")
        return None
    elsewhere = [name for name in columns if name in model.labels and name not in last]
    matching_columns(model.labels, elsewhere + last, options.csv)
    return list(model.labels)


def run_test(model: Any, options: EvaluationOptions) -> Path:
    """Evaluate a classifier with HuBERT-ECG's input; returns the table of results.

    Raises: ConfigError when model and labels do not fit.
    """
    if not hasattr(model.cfg, "conv_stride") or not hasattr(model.cfg, "num_labels"):
        raise ConfigError(f"ecg-test takes a fine-tuned HuBERT-ECG, found a {type(model).__name__}; use ecg-validate")
    options = replace(options, task=task_of(model, options.task))
    table = open_table(model, options)
    if table.label_table is None:
        raise ConfigError(
            f"{options.csv} has no label columns behind the first {options.label_start_index}; "
            f"set --label-start-index N"
        )
    wanted = 1 if options.task == "multi_class" else int(model.cfg.num_labels)
    if table.label_table.shape[1] != wanted:
        raise ConfigError(
            f"the model has {model.cfg.num_labels} logits, {options.csv} {table.label_table.shape[1]} label columns "
            f"({', '.join(table.columns[:4])} ...); set --label-start-index or --task"
        )
    probabilities = _predict(model, table, options)
    out, suffix = Path(options.out), "_max" if options.crops and options.aggregation == "max" else ""
    name = f"performance_{options.save_id}{suffix}.csv"
    place = path_below(out / "performance", name, "--save-id")
    check_no_input([place], [table.path])
    path = write_performance(place, probabilities, table, options)
    if options.challenge_weights and options.task == "multi_label":
        score, scored = condition_score(
            probabilities > 0.5, table.label_table == 1, table.columns, options.challenge_weights
        )
        scores = out / "cinc2020.txt"
        with writing(scores), scores.open("a", encoding="utf-8") as lines:
            lines.write(f"{options.save_id} : {score}\n")
        print(f"Challenge score over {len(scored)} conditions: {score:.4f}")
    return path


def _predict(model: Any, table: HubertCsvDataset, options: EvaluationOptions) -> np.ndarray:
    """Probabilities [items, labels] in the order of the CSV."""
    crop = CROP // (table.cfg.downsampling_factor or 1)
    folder = Path(options.out) / "probs" / Path(options.csv).stem
    draws = np.random.RandomState(options.seed)
    found = []
    loader = batches_in_order(Windows(table), options.batch_size, options.workers)
    for number, (windows, lengths) in enumerate(loader):
        values = predict_windows(model, windows, lengths.tolist(), options, crop, draws).cpu().numpy()
        found.append(values)
        if options.save_probabilities:
            place = folder / f"probs_{number}_bs{options.batch_size}.npy"
            with replacing(place) as partial, partial.open("wb") as file:
                np.save(file, values)
    return np.concatenate(found)


def write_performance(
    path: Path, probabilities: np.ndarray, table: HubertCsvDataset, options: EvaluationOptions
) -> Path:
    """One row per metric, one column per label, as published; `<name>_intervals.csv` beside it with `rounds`."""
    targets = table.label_table
    assert targets is not None
    columns = table.columns if options.task == "multi_label" else [table.columns[0]]
    kind = KINDS_OF_TASKS[options.task or "multi_label"]
    metrics = make_metrics(METRICS.get(kind, USUAL[kind]), kind)
    zeros = options.published_zeros and kind != VALUES

    def values(chosen: np.ndarray) -> dict[str, Any]:
        labels = targets[chosen][:, 0] if options.task == "multi_class" else targets[chosen]
        found = measure(metrics, Scored.of(probabilities[chosen], labels, kind), zeros=zeros)
        return found if kind == LABELS else {name: mean_defined(np.atleast_1d(value)) for name, value in found.items()}

    found = values(np.arange(len(targets)))
    _write(path, columns, {f"test_{name}": np.atleast_1d(value) for name, value in found.items()})
    for name, value in found.items():
        print(f"{name}: {mean_defined(np.atleast_1d(value)):.4f}" + (" (mean over labels)" if len(columns) > 1 else ""))
    if options.rounds:
        drawn = resampled_items(targets, options.rounds, options.seed)
        ends = {
            f"test_{name}_{end}": np.atleast_1d(pair[side])
            for name, pair in intervals(values, drawn).items()
            for side, end in enumerate(("low", "high"))
        }
        _write(path.with_name(f"{path.stem}_intervals.csv"), columns, ends)
    return path


def _write(path: Path, columns: list[str], rows: dict[str, np.ndarray]) -> None:
    import pandas

    table = pandas.DataFrame(list(rows.values()), columns=columns)
    table.insert(0, "", list(rows), allow_duplicates=True)
    write_table(path, table)
