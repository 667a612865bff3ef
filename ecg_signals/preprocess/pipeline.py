"""One dataset -> records.csv, signal files, meta.csv, labels, splits, manifests and the closing table."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError, parse_literal
from ecg_signals.files import writing
from ecg_signals.limits import shown
from ecg_signals.preprocess.destination import check_dest, check_distinct
from ecg_signals.preprocess.executors import place
from ecg_signals.preprocess.identity import patient_numbers, save_files
from ecg_signals.preprocess.journal import KEY_BYTES, Journal, record_key, settings_of
from ecg_signals.preprocess.labels import join_label_file, numeric_labels, write_label_files
from ecg_signals.preprocess.manifests import pairs_step, write_manifests
from ecg_signals.preprocess.options import FLAGS, PreprocessConfig
from ecg_signals.preprocess.report import Report
from ecg_signals.preprocess.signals import FOLDERS, process_record, segment_name
from ecg_signals.preprocess.source import Row, Source
from ecg_signals.preprocess.splits import (
    TRUE,
    SplitRules,
    check_patients,
    empty_splits,
    equal_signals,
    split_records,
    split_segments,
)
from ecg_signals.preprocess.workers import UNREADABLE, Job, Work, process_all
from ecg_signals.registry import register_source
from ecg_signals.signal.resample import resampled_length
from ecg_signals.tables import Column, Table, check_columns, write_table

CHUNK = 10_000  # records whose facts are parsed at a time
SPLITS = ("train", "valid", "test")
TABLES = ("records", "meta", "segmented", "meta_split", "segmented_split", "skipped")
OUTPUTS = (
    *(f"{name}.csv" for name in TABLES),
    *FOLDERS,
    *(f"labels/{name}" for name in ("labels.csv", "label_def.csv", "y.npy", "pos_weight.txt")),
    *(f"manifest/{folder}{split}.tsv" for folder in ("", "cmsc/") for split in SPLITS),
    "progress.jsonl",
    "progress",
)


def preprocess_dataset(name: str, folder: Path, dest: Path, cfg: PreprocessConfig, workers: int) -> Report:
    """Process what is missing, then write every table anew.

    Raises: ConfigError if there is nothing to read, or nothing could be read, or DEST cannot be written.
    """
    dest = dest.expanduser().resolve()
    source = open_source(name, folder, cfg, dest)
    records = list_records(source)
    check_dest(source, records, dest, OUTPUTS)
    with writing_to(dest):
        check_distinct(records["save_file"], records["path"], dest)
        journal = Journal(dest, source.prefix)
        journal.path.touch()  # from now on this folder is ours
        write_table(dest / "records.csv", records.drop(columns=["patient_number"]))
        report = Report(dest, len(records), SPLITS)
        read_all(source, records, journal, workers, report, process_record)
        write_tables(source, records, journal, dest, report)
    return report


@contextmanager
def writing_to(dest: Path) -> Iterator[None]:
    """DEST, made if it is not there. Raises: ConfigError if the system refuses to write in the block."""
    with writing(dest):
        dest.mkdir(parents=True, exist_ok=True)
        yield


def open_source(name: str, folder: Path, cfg: PreprocessConfig, dest: Path) -> Source:
    """The dataset in SOURCE. Raises: ConfigError saying what is expected there."""
    cls: type[Source] = register_source.get(name).cls
    return cls(cls.locate(folder.expanduser(), cfg).resolve(), cfg, skip=dest)


@contextmanager
def understood(source: Source) -> Iterator[None]:
    """Turns what a table of another content does to the code that reads it into one message; a bug stays one."""
    try:
        yield
    except UNREADABLE as error:
        reason = f"{type(error).__name__}: {shown(error)}"
        raise ConfigError(
            f"the tables of {source.folder} hold something unexpected ({reason}); expected {source.layout}. "
            f"Compare them with the published ones, or get them again"
        ) from error


def read_all(source: Source, records: Table, journal: Journal, workers: int, report: Report, work: Work) -> None:
    """Process what is missing; the report says what cannot be read. Raises: ConfigError if nothing can."""
    errors = process_missing(source, records, journal, workers, work)
    for idx, reason in errors.items():
        report.skip(idx, records.loc[idx, "path"], "unreadable", reason)
    if len(errors) == len(records):
        report.write()
        idx, first = next(iter(errors.items()))
        raise ConfigError(
            f"none of the {len(records)} records could be used. The first, {records.loc[idx, 'path']}: {first}. "
            f"All of them: {report.path}"
        )


def list_records(source: Source) -> Table:
    """records.csv: idx by sorted path, save_file, source, dataset, and what the dataset says about its records."""
    with understood(source):
        records = source.records()
    if records.empty:
        raise ConfigError(f"no record found below {source.folder}; expected {source.layout}")
    nameless = [not isinstance(path, str) or not path for path in records["path"]]
    if any(nameless):
        row = nameless.index(True) + 1
        raise ConfigError(f"row {row} of the tables of {source.folder} names no record; expected {source.layout}")
    order = ["path", "record_id"] if "record_id" in records.columns else ["path"]
    records = records.sort_values(order, kind="stable").reset_index(drop=True)
    twice = records[records.duplicated(order)]
    if len(twice):
        raise ConfigError(f"{twice['path'].iloc[0]} is listed twice below {source.folder}; list every record once")
    if "dataset" not in records.columns:
        records = records.assign(dataset=source.prefix)
    names = save_files(source.prefix, records)
    rest = [name for name in records.columns if name not in ("name", "dataset")]
    records = records.assign(idx=range(len(records)), save_file=names, source=source.prefix)
    records = records[["idx", "save_file", "source", "dataset", *rest]]
    return records.assign(patient_number=patient_numbers(records))


def process_missing(source: Source, records: Table, journal: Journal, workers: int, work: Work) -> dict[int, str]:
    """Process what the journal does not have. Returns: by idx, why a record could not be read."""
    from tqdm import tqdm

    journal.recover()
    todo, keys = find_missing(source, records, journal)
    chosen = place(source.cfg.executor, source.cfg.executor_options, workers)
    size = chosen.shard_size(len(todo))
    job = Job(type(source), source.folder.absolute(), source.cfg, journal.dest, work)
    tasks = rows_of(records, todo, size, keys)
    errors: dict[int, str] = {}
    journal.open(records["save_file"].iloc[todo])
    try:
        where, done = f"{source.prefix} -> {journal.dest.name}", len(records) - len(todo)
        with tqdm(total=len(records), initial=done, unit="record", desc=where) as bar:
            for found in process_all(job, tasks, -(-len(todo) // size), chosen, journal.parts):
                if found.failure is not None:
                    raise found.failure
                journal.take(found.shard, len(found.errors))
                errors |= found.errors
                bar.update(len(found.shard.rows))
    finally:
        journal.close()
    journal.sort(records["save_file"])
    return dict(sorted(errors.items()))


def find_missing(source: Source, records: Table, journal: Journal) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the records that the journal does not have, and the keys of all, uint8 [records, 20]."""
    settings = settings_of(source)
    missing, keys = np.ones(len(records), bool), np.empty((len(records), KEY_BYTES), np.uint8)
    start = 0
    for rows in rows_of(records, np.arange(len(records)), CHUNK):
        found = [record_key(settings, source, row, journal.identity) for row in rows]
        end = start + len(rows)
        keys[start:end] = np.frombuffer(bytes.fromhex("".join(found)), np.uint8).reshape(-1, KEY_BYTES)
        missing[start:end] = np.logical_not(journal.done(rows, found, source.cfg))
        start = end
    return np.flatnonzero(missing), keys


def rows_of(records: Table, places: np.ndarray, size: int, keys: np.ndarray | None = None) -> Iterator[list[Row]]:
    """The rows at these places as plain Python values, `size` at a time; only what reading a record needs.

    Args:
        keys: of all records; each row gets its own as `key`, in hexadecimal digits.
    """
    wanted = ("idx", "path", "save_file", "patient_number", "record_id", "sample_rate", "array")
    table = records[[name for name in wanted if name in records.columns]]
    block = size * -(-CHUNK // size)  # a table's slice takes as long for a few rows as for hundreds
    for start in range(0, len(places), block):
        chosen = places[start : start + block]
        rows = table.iloc[chosen].to_dict("records")
        more = [{}] * len(rows) if keys is None else [{"key": bytes(key).hex()} for key in keys[chosen]]
        plain: list[Row] = [
            {str(name): None if value != value else value for name, value in row.items()} | other
            for row, other in zip(rows, more)
        ]
        yield from (plain[at : at + size] for at in range(0, len(plain), size))


def write_tables(source: Source, records: Table, journal: Journal, dest: Path, report: Report) -> None:
    """meta.csv, segmented.csv, labels, splits, manifests, CMSC pairs; what is left out goes to the report."""
    meta = meta_table(records, journal, source.cfg, dest)
    write_table(dest / "meta.csv", meta)
    segments = segment_table(meta, journal, source.cfg, dest)
    write_table(dest / "segmented.csv", segments)
    for row in meta[~meta["save_file"].isin(segments["save_file"])].itertuples():
        seconds = row.sample_size / row.sample_rate
        reason = f"{seconds:.4g} s, shorter than a segment of {source.cfg.segment_seconds:g} s"
        report.skip(row.idx, row.path, "too short", reason)
    labels = label_table(source, meta)
    meta_split = split_table(source, meta, report)
    write_table(dest / "meta_split.csv", meta_split)
    segment_split = split_segments(segments, meta_split)
    write_table(dest / "segmented_split.csv", segment_split)
    if labels is not None:
        write_table(dest / "labels" / "labels.csv", as_integers(labels))
        report.without_positives = write_label_files(dest / "labels", labels, meta_split, partial=True)
        report.labels = labels.shape[1] - 1
    report.add_notes(meta["notes"])
    report.count(meta, meta_split, segment_split)
    tell_splits(source, meta, meta_split, report)
    if segment_split.empty:
        report.write()
        raise ConfigError(f"no segment is left for the manifests; {report.path} says why, record by record")
    write_manifests(segment_split, dest / "manifest", SPLITS)
    report.pairs = pairs_step(dest / "manifest", dest / "manifest")
    report.write()


def meta_table(records: Table, journal: Journal, cfg: PreprocessConfig, dest: Path) -> Table:
    """records.csv's columns and the facts of the records that could be read; their table wins over their file."""
    import pandas as pd

    finished = journal.segments(records["save_file"]) >= 0
    kept = records[finished].drop(columns=["patient_number"]).reset_index(drop=True)
    try:
        found = fact_table(journal.facts(kept["save_file"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{journal.path} is damaged ({shown(error)}); delete it and run the command again") from None
    for name in kept.columns.intersection(found.columns):
        if name in ("age", "sex", "report", "patient_id"):
            found[name] = kept[name].where(kept[name].notna(), found[name])
        kept = kept.drop(columns=[name])
    folder = f"{dest / 'org'}{os.sep}"
    paths = texts(folder + name for name in kept["save_file"])
    order = {} if "lead_order" in found else {"lead_order": str(cfg.leads)}
    return pd.concat([kept.assign(save_path=paths, **order), found], axis=1)


def fact_table(facts: Iterator[dict[str, Any]]) -> Table:
    """Facts as the journal has them -> one row each; lists as text, `mean` and `std` as a column per lead."""
    import pandas as pd

    frames = []
    while rows := list(islice(facts, CHUNK)):
        statistics = {kind: np.array([row.pop(kind) for row in rows], dtype=np.float64) for kind in ("mean", "std")}
        for row in rows:
            row |= {key: sys.intern(str(value)) for key, value in row.items() if isinstance(value, list)}
        frame = pd.DataFrame(rows).drop(columns=["segments"])
        columns = {f"{kind}_{i}": values[:, i] for kind, values in statistics.items() for i in range(values.shape[1])}
        frames.append(pd.concat([frame, pd.DataFrame(columns)], axis=1))
    return pd.concat(frames, ignore_index=True)


def segment_table(meta: Table, journal: Journal, cfg: PreprocessConfig, dest: Path) -> Table:
    """segmented.csv: one row per segment: its file, its record, its samples."""
    import pandas as pd

    counts = journal.segments(meta["save_file"])
    names = meta["save_file"].repeat(counts).reset_index(drop=True)
    number = np.arange(len(names)) - np.repeat(np.cumsum(counts) - counts, counts)  # within its record
    folder = f"{dest / 'segmented'}{os.sep}"
    paths = texts(folder + segment_name(name, i) for name, i in zip(names, number))
    size: Any = int(cfg.segment_seconds * cfg.sample_rate)
    if not size:
        rows = zip(meta["sample_size"], meta["sample_rate"])
        size = np.repeat([resampled_length(samples, rate, cfg.sample_rate) for samples, rate in rows], counts)
    return pd.DataFrame({"path": paths, "save_file": names, "sample_size": size})


def texts(values: Iterable[str]) -> Column:
    """A column of texts, of which no more than CHUNK are objects at a time."""
    import pandas as pd

    left = iter(values)
    parts = [pd.Series(list(islice(left, CHUNK)), dtype=str)]
    while found := list(islice(left, CHUNK)):
        parts.append(pd.Series(found, dtype=str))
    return pd.concat(parts, ignore_index=True)


def label_table(source: Source, meta: Table) -> Table | None:
    """labels.csv: from `label_file` if one is given, else the dataset's own; None without labels."""
    if source.cfg.label_file:
        labels, remarks = join_label_file(meta, Path(source.cfg.label_file).expanduser(), source.folder)
        source.remark(*remarks)
        return labels
    with understood(source):
        labels = source.labels(meta)
    return None if labels is None else numeric_labels(labels, f"a table of {source.folder}")


def as_integers(labels: Table) -> Table:
    """0 and 1 without a point, unknown values empty."""
    whole = [name for name in labels.columns if (labels[name].dropna() % 1 == 0).all()]
    return labels.astype(dict.fromkeys(whole, "Int64"))


def split_table(source: Source, meta: Table, report: Report) -> Table:
    """meta_split.csv: the records that belong to a split; the report says why others do not."""
    meta = leave_out(source, meta, report)
    if meta.empty:
        report.write()
        raise ConfigError(f"every record is left out; {report.path} says why. Change filter_cols or dataset_subset")
    grouped = "patient_id" in meta.columns
    keep = ["dataset", *(["patient_id"] if grouped else [])]
    with understood(source):
        own = source.split(meta)
    if own is not None:
        chosen = meta.assign(split=own)
        allowed = getattr(source.cfg, "shared_patients", True)  # published splits stay as they are
        source.remark(*check_patients(chosen, allowed))
        for row in chosen[chosen["split"].isna()].itertuples():
            report.skip(row.idx, row.path, "left out", source.without_split)
        return chosen.loc[chosen["split"].notna(), ["idx", "save_file", "split", *keep]].reset_index(drop=True)
    by_file(source, meta)
    patients = meta["patient_id"].astype(object) if grouped else meta["idx"].map(lambda idx: None)
    alone = "record " + meta["idx"].astype(str)  # a record without patient is a patient of its own
    meta = meta.assign(_patient=patients.where(patients.notna(), alone).astype(str))
    rules = SplitRules("grouped", source.cfg.fractions, SPLITS, "_patient", keep_cols=keep, seed=source.cfg.seed)
    table = split_records(meta, rules).drop(columns=["_patient"])
    for row in meta[~meta["idx"].isin(table["idx"])].itertuples():
        report.skip(row.idx, row.path, "left out", f"fractions {source.cfg.fractions} leave it without a split")
    return table


def by_file(source: Source, meta: Table) -> None:
    """Says of how many records the patient is not known; each counts as a patient of its own."""
    unknown = int(meta["patient_id"].isna().sum()) if "patient_id" in meta.columns else len(meta)
    if not unknown:
        return
    how = "add a column patient_id to the table, or set patient_from_folder=true"
    advice = how if hasattr(source.cfg, "patient_from_folder") else "the data set does not name them"
    whole = "the split is by file" if unknown == len(meta) else "these are divided by file"
    source.remark(
        f"{unknown} of {len(meta)} records name no patient: {whole}, and one patient's files may come into several "
        f"splits ({advice})"
    )


def tell_splits(source: Source, meta: Table, split: Table, report: Report) -> None:
    """Remarks about the finished splits."""
    shares = getattr(source.cfg, "fractions", [1.0] * len(SPLITS))
    wanted = [name for name, share in zip(report.splits, shares) if share]
    patients = split["patient_id"] if "patient_id" in split.columns else split["idx"]
    source.remark(*equal_signals(meta, split), *empty_splits(report.records, wanted, patients.nunique()))
    report.remarks = source.remarks


def leave_out(source: Source, meta: Table, report: Report) -> Table:
    """The records that may belong to a split: no filter applies, and the dataset is wanted."""
    check_columns(meta, source.cfg.filter_cols, "meta.csv")
    out: dict[int, str] = {}
    rows = meta.set_index("idx")
    for name in source.cfg.filter_cols:
        for idx in flagged(meta, name):
            out.setdefault(idx, f"{name} {_which(rows, idx, name)}".strip())
    if source.cfg.dataset_subset:
        wanted = split_records(meta, SplitRules(dataset_subset=source.cfg.dataset_subset))["idx"]
        for idx in set(meta["idx"]) - set(wanted):
            out.setdefault(idx, "its dataset is not in dataset_subset")
    paths = dict(zip(meta["idx"], meta["path"]))
    for idx, reason in sorted(out.items()):
        report.skip(idx, paths[idx], "left out", reason)
    for name in FLAGS:
        for idx in flagged(meta, name):
            if idx not in out:
                report.skip(idx, paths[idx], "flagged", f"{name} {_which(rows, idx, name)}".strip())
    return meta[~meta["idx"].isin(out)]


def flagged(meta: Table, name: str) -> Column:
    """idx of the records with true in a column."""
    return meta.loc[meta[name].astype(str).str.lower().isin(TRUE), "idx"]


def _which(rows: Table, idx: int, flag: str) -> str:
    """The leads behind a flag, where meta.csv tells them; `rows` is that table by idx."""
    row = rows.loc[idx]
    if flag == "nan_any":  # the mean of a lead with a NaN is NaN
        names = parse_literal(row["lead_order"])
        leads = [name for i, name in enumerate(names) if row[f"mean_{i}"] != row[f"mean_{i}"]]
    else:
        leads = parse_literal(row[flag.removesuffix("_any")]) if flag.endswith("leads_any") else []
    return f"({', '.join(leads)})" if leads else ""
