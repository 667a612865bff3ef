"""A model with a head on a table of ECG files and labels: the protocol of ecg-test.

Files are what the model's input contract says: records in any format, or such as are prepared for its family already.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ecg_signals.config import ConfigError, resolve_input
from ecg_signals.data.label_names import listed, matching_columns
from ecg_signals.data.label_table import label_columns, label_values, read_table
from ecg_signals.data.loading import batches_in_order
from ecg_signals.evaluation.run import run
from ecg_signals.evaluation.windows import Logits, aggregate_crops, crop_batches, model_batches
from ecg_signals.files import replacing, writing
from ecg_signals.interop.layout import logit_columns
from ecg_signals.limits import check_no_input, path_below
from ecg_signals.metrics.condition_score import condition_score
from ecg_signals.metrics.logits import (
    CLASSES,
    COSINES,
    KINDS_OF_TASKS,
    LABELS,
    VALUES,
    joined_items,
    probabilities_of,
    values_behind,
)
from ecg_signals.metrics.results import Results, evaluate
from ecg_signals.readers.read import read_record
from ecg_signals.registry import get_entry
from ecg_signals.signal.contract import SignalContract, stated_contract
from ecg_signals.tables import write_table


@dataclass(frozen=True)
class TableOptions:
    """What `run_table` does."""

    csv: str
    ecg_dir: str | None = None  # folder of the files; None: the table's own
    out: str = "."  # folder for results
    task: str | None = None  # a key of KINDS_OF_TASKS; None: what the model was trained for
    label_start_index: int = 3  # columns before the labels, where the model does not know its labels' names
    batch_size: int = 64
    workers: int = 0
    crops: int = 0  # random ones per ECG, out of twice a window (test-time augmentation); 0: the windows themselves
    aggregation: str | None = None  # "mean", "max", "mean_logits"; None: as the input contract says, of crops the mean
    seed: int = 42
    save_id: str = "test"  # part of the result files' names
    save_probabilities: bool = False  # one .npy per batch, as published
    metrics: list[str] | None = None  # registered names; None: the usual ones
    rounds: int = 0  # of the bootstrap; 0: no intervals
    challenge_weights: str | None = None  # table of weights for the Challenge score of 2020
    absent: str = "skip"  # what a label without a value counts in means; published: zero


@dataclass
class Outcome:
    """What came of it: the table of results, and what is to be said."""

    path: Path = Path()
    said: list[str] = field(default_factory=list)


class Table(Protocol):
    """ECGs with labels that a model can be tested on."""

    path: Path
    columns: list[str]
    label_table: np.ndarray | None
    tested_by: ClassVar[dict[str, tuple[str, ...]]]  # metrics of a kind of task, where they are not the usual ones

    def __len__(self) -> int: ...

    def windows(self, index: int) -> dict[str, Tensor]:
        """`source` [windows, leads, samples], how many samples of each are `found`, and `padding`, if it counts."""


class RecordTable:
    """Record files of any format, cut as a model's input contract says; `long`: twice a window of each, for crops."""

    tested_by: ClassVar[dict[str, tuple[str, ...]]] = {}

    def __init__(self, contract: SignalContract, path: str, long: bool, options: dict[str, Any]) -> None:
        self.path = resolve_input(path)
        self.folder = resolve_input(options["ecg_dir"]) if options["ecg_dir"] else self.path.parent
        table = read_table(path)
        self.names = list(table["filename"])
        self.columns = label_columns(table, path, options["label_columns"], options["label_start_index"])
        self.label_table = label_values(table, path, self.columns, options["task_type"]) if self.columns else None
        self.long = long
        self.contract = replace(contract, window_samples=2 * contract.window_samples) if long else contract

    def __len__(self) -> int:
        return len(self.names)

    def windows(self, index: int) -> dict[str, Tensor]:
        name = Path(self.names[index])
        record = read_record(name if name.is_file() else self.folder / name)
        source, padding = self.contract.prepare(record, return_mask=True)
        kept = slice(0, 1) if self.long else slice(None)
        return {"source": source[kept], "found": (~padding[kept, 0]).sum(dim=1), "padding": padding[kept]}


class Items(Dataset[dict[str, Tensor]]):
    """The windows of each ECG of a table, with its number."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        windows = self.table.windows(index)
        return {"id": torch.full((len(windows["source"]),), index), **windows}


def task_of(model: Any, asked: str | None, said: list[str]) -> str:
    """The kind of task: the model's, which `asked` must agree with; multi_label where neither says.

    Raises: ConfigError when the model was trained for another one than is asked for, or for labels and values.
    """
    if values_behind(model.logit_kind):
        raise ConfigError(
            f"the model answers labels and values together ({model.logit_kind}), and a table has one kind; score it on "
            f"its manifests, ecg-validate criterion=labels_and_values"
        )
    trained = next((task for task, kind in KINDS_OF_TASKS.items() if kind == model.logit_kind), None)
    if asked and trained and asked != trained:
        raise ConfigError(f"--task {asked}, but the model was trained for {trained}; leave --task out")
    if not asked and not trained:
        said.append("the model does not say what its logits are: --task multi_label is assumed")
    return asked or trained or "multi_label"


def open_table(model: Any, options: TableOptions, said: list[str]) -> Table:
    """The CSV, its ECGs as the model takes them; columns by the model's label names where it has them."""
    contract = stated_contract(model.signal, "MODEL")
    named = {
        "ecg_dir": options.ecg_dir,
        "label_columns": _columns_by_name(model, options, said) if options.task == "multi_label" else None,
        "label_start_index": options.label_start_index,
        "task_type": options.task,
    }
    if not contract.table:
        return RecordTable(contract, options.csv, bool(options.crops), named)
    dataset: Any = get_entry("dataset", contract.table).cls
    return dataset.of_contract(contract, options.csv, bool(options.crops), options.seed, named)


def _columns_by_name(model: Any, options: TableOptions, said: list[str]) -> list[str] | None:
    """The model's labels as columns of the CSV, wherever they stand; None where the model does not name them."""
    columns = list(map(str, read_table(options.csv).columns))
    last = columns[options.label_start_index :]
    if not model.labels:
        said.append(f"the model does not name its labels: the columns are taken in order, {listed(last)}")
        return None
    elsewhere = [name for name in columns if name in model.labels and name not in last]
    matching_columns(model.labels, elsewhere + last, options.csv)
    return list(model.labels)


def run_table(model: Any, options: TableOptions) -> Outcome:
    """Evaluate a classifier or a regression, and write its performance.

    Raises: ConfigError when model and table do not fit.
    """
    outcome = Outcome()
    logits = logit_columns(model.cfg.to_dict())
    if logits is None or model.of_samples or model.logit_kind == COSINES:
        raise ConfigError(
            f"ecg-test takes a fine-tuned model, and {model.cfg._name} has no classification head; fine-tune it first"
        )
    options = replace(options, task=task_of(model, options.task, outcome.said))
    table = open_table(model, options, outcome.said)
    _check_columns(table, logits, options)
    out, suffix = Path(options.out), "_max" if options.crops and options.aggregation == "max" else ""
    outcome.path = path_below(out / "performance", f"performance_{options.save_id}{suffix}.csv", "--save-id")
    check_no_input([outcome.path], [table.path])
    probabilities = _predict(model, table, options)
    outcome.said += _write_performance(outcome.path, probabilities, table, options)
    if options.challenge_weights and options.task == "multi_label":
        outcome.said.append(_challenge_score(out / "cinc2020.txt", probabilities, table, options))
    return outcome


def _check_columns(table: Table, logits: int, options: TableOptions) -> None:
    """Raises: ConfigError when the table has not the labels that the model has logits for."""
    if table.label_table is None:
        raise ConfigError(
            f"{options.csv} has no label columns behind the first {options.label_start_index}; "
            f"set --label-start-index N"
        )
    wanted = 1 if options.task == "multi_class" else logits
    if table.label_table.shape[1] != wanted:
        raise ConfigError(
            f"the model has {logits} logits, {options.csv} {table.label_table.shape[1]} label columns "
            f"({', '.join(table.columns[:4])} ...); set --label-start-index or --task"
        )


def _predict(model: Any, table: Table, options: TableOptions) -> np.ndarray:
    """Probabilities [items, labels] in the order of the CSV."""
    kind = KINDS_OF_TASKS[options.task or "multi_label"]
    found = Logits()
    batches: Iterable[dict[str, Tensor]] = batches_in_order(Items(table), options.batch_size, options.workers)
    if options.crops:
        draws = np.random.RandomState(options.seed)
        batches = crop_batches(batches, model.signal.window_samples, options.crops, draws)
    run(model, model_batches(batches), next(model.parameters()).device, [found])
    values = _of_crops(found, kind, options) if options.crops else _of_windows(found, model, kind, options)
    if options.save_probabilities:
        _save(values, Path(options.out) / "probs" / Path(options.csv).stem, options.batch_size)
    return values


def _of_crops(found: Logits, kind: str, options: TableOptions) -> np.ndarray:
    """One answer per ECG from those to its crops, [items, labels]."""
    of_logits = options.aggregation == "mean_logits"
    parts = [(part if of_logits else probabilities_of(part, kind)).numpy() for part in found.parts]
    rounds = [parts[at : at + options.crops] for at in range(0, len(parts), options.crops)]
    values = np.concatenate([aggregate_crops(crops, options.aggregation or "mean") for crops in rounds])
    return probabilities_of(torch.from_numpy(values), kind).numpy() if of_logits else values


def _of_windows(found: Logits, model: Any, kind: str, options: TableOptions) -> np.ndarray:
    """One answer per ECG from those to its windows, [items, labels]."""
    labels = model.labels or [""] * found.parts[0].shape[1]
    rules = [options.aggregation or model.signal.rule(label) for label in labels]
    joined = joined_items(found.windows(), rules, kind)
    return probabilities_of(joined, kind).numpy()


def _save(values: np.ndarray, folder: Path, batch_size: int) -> None:
    for number, start in enumerate(range(0, len(values), batch_size)):
        with replacing(folder / f"probs_{number}_bs{batch_size}.npy") as partial, partial.open("wb") as file:
            np.save(file, values[start : start + batch_size])


def _write_performance(path: Path, probabilities: np.ndarray, table: Table, options: TableOptions) -> list[str]:
    """One row per metric, one column per label, as published; `<name>_intervals.csv` beside it with `rounds`.

    Returns: a line per metric.
    """
    kind, targets = KINDS_OF_TASKS[options.task or "multi_label"], table.label_table
    assert targets is not None
    columns = table.columns if kind == LABELS else table.columns[:1]
    results = evaluate(
        probabilities,
        targets[:, 0] if options.task == "multi_class" else targets,
        table.columns if kind != CLASSES else [str(number) for number in range(probabilities.shape[1])],
        kind,
        metrics=options.metrics or table.tested_by.get(kind),
        owners=None,
        rounds=options.rounds,
        seed=options.seed,
        absent=options.absent if kind != VALUES else "skip",
    )
    by_label = kind == LABELS
    values = {**results.means, **(results.values if by_label else {})}
    _write(path, columns, {f"test_{name}": values[name] for name in results.means})
    if options.rounds:
        pairs = {**results.mean_ends, **(results.ends if by_label else {})}
        ends = {f"test_{name}_{end}": pairs[name][side] for name in pairs for side, end in enumerate(("low", "high"))}
        _write(path.with_name(f"{path.stem}_intervals.csv"), columns, ends)
    return [f"{name}: {value:.4f}{_of(results, name)}" for name, value in results.means.items()]


def _of(results: Results, name: str) -> str:
    """What a mean is over, and which labels define no value."""
    if name not in results.values or len(results.labels) == 1:
        return ""
    without = results.undefined[name]
    return f" (mean over labels{f'; without a value: {listed(without)}' if without else ''})"


def _write(path: Path, columns: list[str], rows: dict[str, Any]) -> None:
    import pandas

    table = pandas.DataFrame([np.broadcast_to(row, len(columns)) for row in rows.values()], columns=columns)
    table.insert(0, "", list(rows), allow_duplicates=True)
    write_table(path, table)


def _challenge_score(path: Path, probabilities: np.ndarray, table: Table, options: TableOptions) -> str:
    """Write the score behind those that the file holds; returns what to say of it."""
    assert table.label_table is not None and options.challenge_weights is not None
    truth = table.label_table == 1
    score, scored = condition_score(probabilities > 0.5, truth, table.columns, options.challenge_weights)
    with writing(path), path.open("a", encoding="utf-8") as lines:
        lines.write(f"{options.save_id} : {score}\n")
    return f"Challenge score over {len(scored)} conditions: {score:.4f}"
