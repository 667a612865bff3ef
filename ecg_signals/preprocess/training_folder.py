"""One folder for people with files and labels: raw/ -> processed/ and tables to type labels into."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from os.path import isfile  # unlike Path.is_file, False for a name that no file system takes
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError, option
from ecg_signals.preprocess.datasets.files import Files
from ecg_signals.preprocess.destination import check_distinct, check_inputs_stay
from ecg_signals.preprocess.hubert_records import (
    FOLDER,
    ArrayJournal,
    ArrayReport,
    hubert_options,
    process_whole,
    with_array_names,
)
from ecg_signals.preprocess.options import OwnArrayConfig
from ecg_signals.preprocess.pipeline import (
    by_file,
    label_table,
    leave_out,
    list_records,
    meta_table,
    read_all,
    tell_splits,
    writing_to,
)
from ecg_signals.preprocess.source import walk
from ecg_signals.preprocess.splits import check_patients
from ecg_signals.tables import Column, Table, read_table, table_text, write_text

RAW, METADATA = "raw", "metadata"
TABLES = {"train": "train_dataset.csv", "valid": "val_dataset.csv", "test": "test_dataset.csv"}
ALL = "training_dataset.csv"  # every record and its split, without labels
ABOUT = ("filename", "original_path", "shape", "duration_seconds", "patient_id")  # before the labels
LABELS = ("normal", "abnormal", "arrhythmia")  # to start with, where nobody names any


@dataclass
class FolderConfig(OwnArrayConfig):
    """For `ecg-preprocess prepare`."""

    fractions: list[float] = option([0.8, 0.2, 0.0], "shares of train, valid and test, counted in patients")
    labels: list[str] | None = option(
        None, f"label columns of the table in raw/, and columns to make (without any: {','.join(LABELS)})"
    )


def make_target(target: str, folder: Path, *settings: str) -> str:
    """What to type so that make does `target` with this folder and not with its usual one."""
    usual = folder.resolve() == Path("training_data").resolve()
    where = [] if usual else ["DATA=" + shlex.quote(str(folder))]
    return " ".join(["make", target, *where, *settings])


@dataclass
class FolderReport(ArrayReport):
    """`names`: the label columns; `empty`: rows of the tables that have no label yet."""

    names: list[str] = field(default_factory=list)
    empty: int = 0
    assumed_rate: int = 0

    def _label_lines(self) -> list[str]:
        files = " and ".join(str(self.dest / METADATA / TABLES[name]) for name in self.splits if self.records[name])
        lines = ["", f"labels: {', '.join(self.names)}"]
        if self.empty:
            lines.append(f"  {self.empty} records have none yet: type 0 or 1 into these columns of {files};")
            lines.append(f"  rename them, delete them or add more. Then: {make_target('train', self.dest)}")
        else:
            lines.append(f"  typed in {files}. Next: {make_target('train', self.dest)}")
        return lines

    def _note_lines(self) -> list[str]:
        if not self.assumed_rate:
            return super()._note_lines()
        hint = "if they are not: source_rate=HZ (make: RATE=HZ)"
        text = f"{self.assumed_rate} records do not say their rate and are taken as 500 Hz; {hint}"
        return ["", text, *super()._note_lines()]


def prepare_folder(folder: Path, cfg: FolderConfig, workers: int) -> FolderReport:
    """Record files in raw/, of any format -> processed/*.npy and tables in metadata/, to which new records are added.

    What was typed into the tables stays; labels of a table in raw/ are read anew.
    Raises: ConfigError if there is no record, none can be read, or a table cannot be understood.
    """
    folder = folder.expanduser()
    source = Files(_raw_folder(folder), hubert_options(cfg))
    records = with_array_names(source, list_records(source))
    check_inputs_stay(source, records, folder, (FOLDER, METADATA))
    with writing_to(folder):
        check_distinct(records["array"], records["path"], folder)
        journal = ArrayJournal(folder, source.prefix)
        report = FolderReport(folder, len(records), tuple(TABLES))
        read_all(source, records, journal, workers, report, process_whole)
        meta = meta_table(records, journal, source.cfg, folder)
        usable = leave_out(source, meta, report)
        known = _known_rows(folder)
        table = _merged(known, _described(usable), _given_labels(source, usable), cfg.labels)
        by_file(source, usable)
        table["split"] = _splits(table, known, source.split(usable), usable, cfg)
        _write_tables(folder / METADATA, table, report)
        chosen = dict(zip(table["filename"], table["split"]))
        split = usable.assign(split=usable["array"].map(chosen))
        tell_splits(source, usable, split, report)
        report.kept = len(meta)
        report.assumed_rate = int(meta["notes"].fillna("").str.contains("assumed").sum())
        report.add_notes(meta["notes"])
        report.write()
    return report


def _raw_folder(folder: Path) -> Path:
    """raw/, made if it is not there. Raises: ConfigError if it holds no file."""
    raw = folder / RAW
    if not raw.is_dir():
        with writing_to(raw):
            pass
    if next(walk(raw, ""), None) is None:
        raise ConfigError(
            f"{raw} holds no file. Copy yours there, as the recorder exported them or one .npy per record (12 leads x "
            f"samples in mV), and type the command again"
        )
    return raw


def _given_labels(source: Files, meta: Table) -> Table | None:
    """idx + the labels that a table in raw/ has; of `labels`, if the user names some, those that it has."""
    path = source.table_path()
    if path is None:
        return None
    wanted = source.cfg.labels
    if wanted:
        columns = read_table(path).columns
        wanted = [name for name in wanted if name in columns]
        if not wanted:
            return None
    return label_table(Files(source.folder, replace(source.cfg, labels=wanted)), meta)


def _known_rows(folder: Path) -> Table:
    """What the tables hold already, and in which split; rows whose file is gone are left out.

    Raises: ConfigError for a file that is listed twice.
    """
    import pandas as pd

    tables = []
    for split, name in TABLES.items():
        path = folder / METADATA / name
        if path.is_file():
            tables.append(read_table(path, ABOUT[:1]).assign(split=split))
    if not tables:
        return pd.DataFrame({"filename": pd.Series(dtype=object), "split": pd.Series(dtype=object)})
    rows = pd.concat(tables, ignore_index=True)
    twice = rows["filename"][rows["filename"].duplicated()]
    if len(twice):
        raise ConfigError(
            f"{twice.iloc[0]} is listed twice in the tables of {folder / METADATA}; delete one of its rows"
        )
    return rows[[isfile(folder / FOLDER / str(name)) for name in rows["filename"]]].reset_index(drop=True)


def _described(meta: Table) -> Table:
    """idx and the columns before the labels."""
    columns: dict[str, Any] = {
        "idx": meta["idx"],
        "filename": meta["array"],
        "original_path": f"{RAW}/" + meta["path"],
        "shape": [f"(12, {size})" for size in meta["processed_size"]],
        "duration_seconds": meta["seconds"],
    }
    if "patient_id" in meta.columns and meta["patient_id"].notna().any():
        columns["patient_id"] = _tidy(meta["patient_id"])
    return meta[[]].assign(**columns)


def _merged(known: Table, found: Table, given: Table | None, names: Sequence[str] | None) -> Table:
    """One row per record, by file name: what is known about it, then the labels.

    Args:
        known: rows of the tables; their labels stay.
        found: the records in raw/.
        given: idx + labels of a table in raw/; they win where they have a value.
        names: labels to have a column for.
    """
    import pandas as pd

    gone = known[~known["filename"].isin(found["filename"])]
    about = [name for name in ABOUT if name in found.columns or name in gone.columns]
    table = pd.concat([found, gone]).reindex(columns=["idx", *about]).sort_values("filename").reset_index(drop=True)
    typed = known.drop(columns=[*(name for name in ABOUT[1:] if name in known.columns), "split"]).set_index("filename")
    labels = typed.reindex(table["filename"]).reset_index(drop=True).astype(object)
    if given is not None:
        values = given.set_index("idx").reindex(table["idx"]).reset_index(drop=True)
        for name in values.columns:
            labels[name] = values[name].astype(object).where(values[name].notna(), labels.get(name, None))
    for name in names or (() if len(labels.columns) else LABELS):
        if name not in labels.columns:
            labels[name] = None
    return pd.concat([table.drop(columns=["idx"]), labels.apply(_tidy)], axis=1)


def _tidy(column: Column) -> Column:
    """Whole numbers without a point; anything else as it was typed."""
    import pandas as pd

    numbers = pd.to_numeric(column, errors="coerce").astype(float)
    whole = (numbers.notna() == column.notna()).all() and (numbers.dropna() % 1 == 0).all()
    return numbers.astype("Int64") if whole else column


def _splits(table: Table, known: Table, given: Column | None, meta: Table, cfg: FolderConfig) -> list[str]:
    """The split of every row: as in the user's table, else where the record or its patient is already, else drawn."""
    chosen = dict(zip(known["filename"], known["split"]))
    if given is not None:
        check_patients(meta.assign(split=given), cfg.shared_patients)
        chosen |= {name: split for name, split in zip(meta["array"], given) if split is not None}
    unnamed = table["filename"]
    patients = table["patient_id"].where(table["patient_id"].notna(), unnamed) if "patient_id" in table else unnamed
    of_patient: dict[str, str] = {}
    for name, patient in zip(table["filename"], patients):
        if name in chosen:
            of_patient.setdefault(str(patient), chosen[name])
    new = sorted({str(patient) for patient in patients} - set(of_patient))
    of_patient |= _drawn(new, cfg, set(of_patient.values()))
    return [chosen.get(name, of_patient[str(patient)]) for name, patient in zip(table["filename"], patients)]


def _drawn(patients: Sequence[str], cfg: FolderConfig, taken: set[str]) -> dict[str, str]:
    """Patients -> splits, at random; valid gets at least one where there are two.

    Args:
        taken: splits that already have a patient.
    """
    from ecg_signals.preprocess.splits import SplitRules

    SplitRules(fractions=cfg.fractions, labels=tuple(TABLES))  # checks them
    order = [patients[index] for index in np.random.default_rng(cfg.seed).permutation(len(patients))]
    _, valid, test = (round(share * len(order)) for share in [*cfg.fractions, 0.0, 0.0][:3])
    if "valid" not in taken and len(order) + len(taken) > 1:
        valid = max(valid, 1)
    if "test" not in taken and len(order) + len(taken) > 2 and any(cfg.fractions[2:]):
        test = max(test, 1)
    ends = {"valid": valid, "test": valid + test}
    return {
        patient: next((name for name, end in ends.items() if place < end), "train")
        for place, patient in enumerate(order)
    }


def _write_tables(folder: Path, table: Table, report: FolderReport) -> None:
    """Only files whose content changes are written."""
    names = [name for name in table.columns if name not in (*ABOUT, "split")]
    about = [name for name in table.columns if name in ABOUT]
    for split, file in TABLES.items():
        rows = table[table["split"] == split]
        report.records[split] = len(rows)
        if len(rows) or split != "test" or (folder / file).is_file():
            _write_if_new(folder / file, rows[[*about, *names]])
    _write_if_new(folder / ALL, table[[*about, "split"]])
    report.names, report.empty = names, int(table[names].isna().all(axis=1).sum())


def _write_if_new(path: Path, table: Table) -> None:
    text = table_text(table)
    if not path.is_file() or path.read_text(encoding="utf-8-sig") != text:
        write_text(path, text)
