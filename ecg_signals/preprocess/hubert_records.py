"""Whole records as HuBERT-ECG reads them: DEST/processed/*.npy, and a CSV of labels per split in DEST/manifest."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ecg_signals.config import UsageError, field_default
from ecg_signals.files import replacing
from ecg_signals.limits import name_below
from ecg_signals.preprocess.destination import check_dest, check_distinct
from ecg_signals.preprocess.journal import Journal
from ecg_signals.preprocess.options import SIGNAL_OPTIONS, PreprocessConfig, option_fields
from ecg_signals.preprocess.pipeline import (
    SPLITS,
    as_integers,
    label_table,
    list_records,
    meta_table,
    open_source,
    read_all,
    split_table,
    tell_splits,
    writing_to,
)
from ecg_signals.preprocess.report import Report
from ecg_signals.preprocess.signals import read_ordered
from ecg_signals.preprocess.source import Row, Source
from ecg_signals.tables import Table, write_table

FOLDER = "processed"
MANIFEST = "manifest"
OUTPUTS = (
    FOLDER, *(f"{MANIFEST}/{name}.csv" for name in SPLITS), "skipped.csv", "progress_hubert.jsonl",
    "progress_hubert",
)  # fmt: skip
ABOUT = ("age", "sex")  # columns that every published CSV has between the file name and the labels
FIXED = tuple(name for name in SIGNAL_OPTIONS if name != "dtype")  # of the signals: HuBERT-ECG leaves no choice


class ArrayJournal(Journal):
    """The finished files of DEST/processed."""

    file_name: ClassVar[str] = "progress_hubert.jsonl"
    folders: ClassVar[tuple[str, ...]] = (FOLDER,)
    identity: ClassVar[tuple[str, ...]] = ("path", "array")

    def _has_files(self, row: Row, segments: int, cfg: PreprocessConfig) -> bool:
        return (self.dest / FOLDER / row["array"]).is_file()


@dataclass
class ArrayReport(Report):
    """What a run says; `start` is the number of columns before the labels."""

    start: int = 0

    def _split_lines(self) -> list[str]:
        return [f"  {'split':12}{'records':>10}", *(f"  {name:12}{self.records[name]:>10}" for name in self.splits)]

    def _label_lines(self) -> list[str]:
        folder = self.dest / MANIFEST
        if not self.labels:
            return ["", f"no labels -> {folder}; give some with label_file=FILE.csv"]
        return [
            "",
            f"{self.labels} labels -> {folder}. To fine-tune:",
            f"  ecg-train --config-name hubert/finetune task.data={folder} dataset.ecg_dir={self.dest / FOLDER} "
            f"dataset.label_start_index={self.start} model.num_labels={self.labels} model.model_path=CHECKPOINT",
        ]


def preprocess_for_hubert(name: str, folder: Path, dest: Path, cfg: PreprocessConfig, workers: int) -> Report:
    """Process the records of a dataset that are not there yet, then write every CSV anew.

    Raises: ConfigError if there is nothing to read, or nothing could be read, or DEST cannot be written; UsageError
        for options that HuBERT-ECG's preprocessing leaves no choice about.
    """
    dest = dest.expanduser().resolve()
    source = open_source(name, folder, hubert_options(cfg), dest)
    records = with_array_names(source, list_records(source))
    check_dest(source, records, dest, OUTPUTS)
    with writing_to(dest):
        check_distinct(records["array"], records["path"], dest)
        journal = ArrayJournal(dest, source.prefix)
        report = ArrayReport(dest, len(records), SPLITS)
        read_all(source, records, journal, workers, report, process_whole)
        meta = meta_table(records, journal, source.cfg, dest)
        labels = label_table(source, meta)
        split = split_table(source, meta, report)
        report.count(meta, split, split)
        tell_splits(source, meta, split, report)
        report.add_notes(meta["notes"])
        report.start, report.labels = write_splits(dest / MANIFEST, meta, labels, split)
        report.write()
    return report


def hubert_options(cfg: PreprocessConfig) -> PreprocessConfig:
    """The options as this preprocessing uses them. Raises: UsageError for one that it has no use for."""
    known = option_fields(type(cfg))
    for name in FIXED:
        if getattr(cfg, name) != field_default(known[name]):
            raise UsageError(
                f"{name}={getattr(cfg, name)} has no place here: HuBERT-ECG reads whole records of twelve leads at "
                f"500 Hz, scaled to [-1, 1); leave it out"
            )
    return replace(cfg, derive_leads=True)


def with_array_names(source: Source, records: Table) -> Table:
    """A column `array`: the file below DEST/processed, whatever the records' paths and names say."""
    rows = records.assign(name=records["save_file"].str.removeprefix(f"{source.prefix}_").str.removesuffix(".mat"))
    return records.assign(array=[name_below(source.array_name(row)) for row in rows.to_dict("records")])


def process_whole(source: Source, row: Row, dest: Path) -> dict[str, Any]:
    """Read one record, write processed/<array>, and return its facts.

    Raises: ConfigError if the record cannot be read or is too short to be filtered; OSError if it cannot be written.
    """
    from ecg_signals.signal.hubert_ecg import SAMPLE_RATE, hubert_preprocess

    org = read_ordered(source, row)
    signal = hubert_preprocess(org.signal, org.rate).astype(source.cfg.dtype)
    with replacing(dest / FOLDER / row["array"]) as partial, open(partial, "wb") as file:
        np.save(file, signal)
    return org.facts | {"segments": 1, "processed_size": signal.shape[1], "seconds": signal.shape[1] / SAMPLE_RATE}


def write_splits(folder: Path, meta: Table, labels: Table | None, split: Table) -> tuple[int, int]:
    """train.csv, valid.csv, test.csv: filename, what is known about the patient, then one column per label.

    Returns: the number of columns before the labels, and of labels.
    """
    extra = next(([name] for name in ("strat_fold", "patient_id") if name in meta.columns), [])
    table = meta[["idx", "array"]].rename(columns={"array": "filename"})
    for name in (*ABOUT, *extra):
        table[name] = meta[name] if name in meta.columns else None
    start = table.shape[1] - 1
    if labels is not None:
        table = table.merge(as_integers(labels), on="idx", how="left")
    for name in SPLITS:
        rows = table[table["idx"].isin(split.loc[split["split"] == name, "idx"])]
        write_table(folder / f"{name}.csv", rows.drop(columns=["idx"]))
    return start, table.shape[1] - 1 - start
