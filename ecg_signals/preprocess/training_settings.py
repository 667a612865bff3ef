"""From a folder of filled-in tables to the settings of ecg-train; one clear message for whatever is not filled in."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from os.path import isfile  # unlike Path.is_file, False for a name that no file system takes
from pathlib import Path

from ecg_signals.config import ConfigError
from ecg_signals.preprocess.hubert_records import FOLDER
from ecg_signals.preprocess.pipeline import writing_to
from ecg_signals.preprocess.training_folder import ABOUT, METADATA, RAW, TABLES, make_target
from ecg_signals.signal.contract import stated_contract
from ecg_signals.signal.steps.hubert_ecg import decimation_of
from ecg_signals.tables import Table, read_table, write_text

STARTED = "started_with.json"  # in a run's folder


@dataclass
class Settings:
    """What `ecg-train` needs for a folder, and what the user should know."""

    words: list[str]
    remarks: list[str]


def training_settings(folder: Path, run: Path, model: str | None) -> Settings:
    """Check that the tables are filled in, and say how to train on them.

    Args:
        run: folder of the run; a training in it must have started from the same tables and model.
        model: HuBERT-ECG checkpoint, folder or hub name to start from, None: random weights.
    Raises: ConfigError naming the table, the row and what to type there.
    """
    folder = folder.expanduser()
    tables = {split: folder / METADATA / TABLES[split] for split in ("train", "valid")}
    train, valid = (_labelled(path, folder) for path in tables.values())
    names = list(train.columns)
    if list(valid.columns) != names:
        raise ConfigError(
            f"{tables['train']} has the labels {', '.join(names)}, but {tables['valid']} "
            f"{', '.join(valid.columns) or 'none'}; give both the same columns in the same order"
        )
    remarks = _remarks(train, tables["train"]) + _shared_patients(*tables.values())
    start = list(read_table(tables["train"]).columns).index(names[0])
    words = [f"dataset.label_start_index={start}", f"model.num_labels={len(names)}"]
    if not _varying(valid):
        remarks.append(f"no label is both 0 and 1 in {tables['valid']}: the best checkpoint is chosen by the loss")
        words += ["checkpoint.best_checkpoint_metric=loss", "checkpoint.maximize_best_checkpoint_metric=false"]
    if model is not None:
        words += _model_settings(model, folder)
    _remember(run, list(tables.values()), model)
    return Settings(words, remarks)


def _labelled(path: Path, folder: Path) -> Table:
    """The label columns of a table, by file name. Raises: ConfigError for whatever is not filled in."""
    import pandas as pd

    if not path.is_file():
        raise ConfigError(f"there is no {path}; make it with: {make_target('prepare-data', folder)}")
    table = read_table(path, ABOUT[:1])
    names = [name for name in table.columns if name not in ABOUT]
    late = [name for name in table.columns[len(table.columns) - len(names) :] if name in ABOUT]
    if not names or late or any(name.startswith("Unnamed:") for name in names):
        found = "a column without a name" if names and not late else f"the columns {', '.join(table.columns)}"
        raise ConfigError(f"{path} has {found}; expected {', '.join(ABOUT[:4])}, then one named column per label")
    if table.empty:
        again = make_target("prepare-data", folder)
        raise ConfigError(f"{path} lists no record; move a few rows there, or add files and type: {again}")
    labels = table.set_index("filename")[names]
    for name in names:
        numbers = pd.to_numeric(labels[name], errors="coerce")
        bad = labels[name][labels[name].notna() & ~numbers.isin((0, 1))]
        if len(bad):
            raise ConfigError(
                f"{path}: column {name} holds {bad.iloc[0]!r} for {bad.index[0]}; type 0 or 1, or nothing if unknown"
            )
        labels = labels.assign(**{name: numbers})
    _check_filled(labels, path)
    lost = next((name for name in labels.index if not isfile(folder / FOLDER / str(name))), None)
    if lost is not None:
        again = make_target("prepare-data", folder)
        raise ConfigError(f"{path} lists {lost}, which is not in {folder / FOLDER}; delete the row, or: {again}")
    return labels


def _check_filled(labels: Table, path: Path) -> None:
    """Raises: ConfigError for rows or columns without any value."""
    empty = labels.index[labels.isna().all(axis=1)]
    if len(empty):
        raise ConfigError(
            f"{path}: {len(empty)} of {len(labels)} records have no label yet (first: {empty[0]}). Type 0 or 1 into "
            f"the columns {', '.join(labels.columns)}, or delete the rows"
        )
    unused = [name for name in labels.columns if labels[name].isna().all()]
    if unused:
        raise ConfigError(f"{path}: column {unused[0]} is empty; type 0 or 1 into it, or delete it in both tables")


def _varying(labels: Table) -> list[str]:
    """The labels that are 0 for some record and 1 for another."""
    return [name for name in labels.columns if labels[name].nunique() > 1]


def _remarks(labels: Table, path: Path) -> list[str]:
    """Raises: ConfigError if no label differs between records."""
    constant = [name for name in labels.columns if name not in _varying(labels)]
    if len(constant) == len(labels.columns):
        raise ConfigError(
            f"{path}: every label is the same in all {len(labels)} records; there is nothing to learn. "
            f"Add records that differ"
        )
    remarks = [f"{path}: {name} is {labels[name].dropna().iloc[0]:g} in every record" for name in constant]
    unknown = int(labels.isna().sum().sum())
    if unknown:
        remarks.append(f"{path}: {unknown} empty labels count as unknown: neither in the loss nor in the statistics")
    return remarks


def _shared_patients(train: Path, valid: Path) -> list[str]:
    patients = [set(read_table(path).get("patient_id", [])) for path in (train, valid)]
    shared = sorted(str(patient) for patient in patients[0] & patients[1] if patient == patient)
    listed = ", ".join(shared[:3])
    text = f"{len(shared)} patients are in {train} and in {valid} ({listed}): scores will flatter"
    return [text] if shared else []


def _model_settings(model: str, folder: Path) -> list[str]:
    """Decimation as the model was trained with."""
    from ecg_signals.checkpoint.load import load_source

    try:
        source = load_source(model)
    except ConfigError as error:
        with_file, without = make_target("train", folder, "MODEL=PATH"), make_target("train-from-scratch", folder)
        hint = f"Then: {with_file}. Without pretrained weights: {without}"
        raise ConfigError(f"{str(error).rstrip('.')}. {hint}") from None
    if not source.name.startswith("hubert_ecg"):
        raise ConfigError(
            f"{model} holds the model '{source.name}', but this folder is prepared for HuBERT-ECG. For others: "
            f"ecg-preprocess npy {RAW} DEST, then ecg-train --config-name finetune/diagnosis"
        )
    factor, kind = decimation_of(stated_contract(source.signal, model).steps)
    return [f"dataset.downsampling_factor={factor or 'null'}", f"dataset.decimation={kind}"]


def _remember(run: Path, tables: Sequence[Path], model: str | None) -> None:
    """Raises: ConfigError if a training in `run` started from other tables or another model."""
    content = {path.name: hashlib.sha1(path.read_bytes()).hexdigest() for path in tables} | {"model": model}
    note = run.expanduser() / STARTED
    if (note.parent / "checkpoint_last.pt").is_file() and note.is_file():
        try:
            before = dict(json.loads(note.read_text(encoding="utf-8")))
        except (ValueError, TypeError, RecursionError):
            before = {}
        changed = [name for name in content if before.get(name) != content[name]]
        if changed:
            again = make_target("train", tables[0].parent.parent, "RUN=NAME")
            raise ConfigError(
                f"the training in {note.parent} started from another {' and '.join(changed)}. Start a new one "
                f"({again}), or remove that folder"
            )
    with writing_to(note.parent):
        write_text(note, json.dumps(content, indent=2) + "\n")
