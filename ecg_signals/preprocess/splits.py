"""Dividing records into train, valid and test: at random, by patient, in time, or by patient in time."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ecg_signals.config import ConfigError, UsageError, listed, unknown_message
from ecg_signals.limits import check_no_input
from ecg_signals.preprocess.matching import NAMED
from ecg_signals.tables import Table, check_columns, numbers, read_table, write_table

TRUE = ("true", "1", "1.0")  # of a flag column, in lower case
STRATEGIES = ("random", "grouped", "temporal", "grouped_temporal")
GROUPED_TEMPORAL_FILTERS = ("train", "True", "False")


@dataclass
class SplitRules:
    """How records are divided.

    Attributes:
        strategy: "random" records; "grouped": whole groups; "temporal": by date, oldest first;
            "grouped_temporal": by date, and each group belongs to the split that holds most of its records.
        fractions: share of each split. A sum above 1 is scaled to 1; what a sum below 1 leaves goes to one more
            label, or to no split if there is none.
        labels: names of the splits, in order (of time, where dates count).
        group_col: column whose equal values stay together, usually the patient.
        date_col: column of dates.
        grouped_temporal_filter: which records are dropped where their own split (by date) and their group's differ:
            "True" all of them, "train" those with train on one side only, "False" none.
        filter_cols: columns of true/false; a record with true in any of them is left out.
        dataset_subset: values of the column `dataset` to keep; empty keeps all.
        keep_cols: further columns for the split tables.
        seed: of the shuffling; the same seed and table give the same splits.
    """

    strategy: str = "random"
    fractions: Sequence[float] = (0.8, 0.1, 0.1)
    labels: Sequence[str] = ("train", "valid", "test")
    group_col: str | None = None
    date_col: str | None = None
    grouped_temporal_filter: str = "train"
    filter_cols: Sequence[str] = ()
    dataset_subset: Sequence[str] = ()
    keep_cols: Sequence[str] = field(default_factory=list)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise UsageError(unknown_message(f"strategy '{self.strategy}'", self.strategy, STRATEGIES, "There are"))
        if self.grouped_temporal_filter not in GROUPED_TEMPORAL_FILTERS:
            raise UsageError(
                f"grouped_temporal_filter_strategy is {self.grouped_temporal_filter!r}; it must be one of "
                f"{', '.join(GROUPED_TEMPORAL_FILTERS)}"
            )
        if "grouped" in self.strategy and not self.group_col:
            raise UsageError(f"strategy {self.strategy} needs the column that names patients: --group_col patient_id")
        if "temporal" in self.strategy and not self.date_col:
            raise UsageError(f"strategy {self.strategy} needs the column of dates: --date_col NAME")
        if any(share < 0 for share in self.fractions) or not 0 < len(self.fractions) <= len(self.labels):
            raise UsageError(
                f"fractions {list(self.fractions)} and split labels {list(self.labels)} do not fit; "
                "give one share per label, such as --fractions 0.8,0.1,0.1 --split_labels train,valid,test"
            )


def split_records(meta: Table, rules: SplitRules) -> Table:
    """The rows of `meta` that belong to a split: idx, save_file, split [group, <group>_split, date, keep_cols]."""
    needed = [*rules.filter_cols, *rules.keep_cols, *(["dataset"] if rules.dataset_subset else [])]
    check_columns(meta, ["idx", "save_file", *needed], "the table of records")
    for name in rules.filter_cols:
        meta = meta[~meta[name].astype(str).str.lower().isin(TRUE)]
    if rules.dataset_subset:
        meta = _subset(meta, rules.dataset_subset)
    columns = ["idx", "save_file", "split"]
    if "grouped" in rules.strategy:
        check_columns(meta, [str(rules.group_col)], "the table of records")
        meta = meta[meta[rules.group_col].notna()]
    if "temporal" in rules.strategy:
        meta = _in_time(meta, str(rules.date_col))
    meta = meta.assign(split=_assign(meta, rules))
    meta = meta[meta["split"].notna()]
    if "grouped" in rules.strategy:
        columns.append(str(rules.group_col))
    if rules.strategy == "grouped_temporal":
        meta = _with_group_split(meta, rules)
        columns.append(f"{rules.group_col}_split")
    if "temporal" in rules.strategy:
        columns.append(str(rules.date_col))
    columns += [name for name in rules.keep_cols if name not in columns]
    return meta.loc[:, columns].sort_values("idx").reset_index(drop=True)


def _subset(meta: Table, wanted: Sequence[str]) -> Table:
    known = sorted(map(str, meta["dataset"].dropna().unique()))
    for name in wanted:
        if name not in known:
            raise UsageError(unknown_message(f"dataset '{name}'", name, known, "The table of records has"))
    return meta[meta["dataset"].astype(str).isin(wanted)]


def _in_time(meta: Table, column: str) -> Table:
    """Rows with a date, oldest first; equal dates in the order of idx."""
    import pandas as pd

    check_columns(meta, [column], "the table of records")
    dates = pd.to_datetime(meta[column], errors="coerce")
    if dates.isna().all():
        found = meta[column].head(3).tolist()
        raise ConfigError(f"column '{column}' holds no date (found {found}); expected dates such as 2020-12-31")
    order = dates.dropna().sort_values(kind="stable").index
    return meta.loc[order]


def _assign(meta: Table, rules: SplitRules) -> np.ndarray:
    """The split's name of every row, None for a row that belongs to no split."""
    rng = np.random.default_rng(rules.seed)
    if rules.strategy == "random":
        ranks = np.argsort(rng.permutation(len(meta)))
        return _names(ranks, len(meta), rules)
    if rules.strategy == "grouped":
        codes, groups = meta[rules.group_col].factorize(sort=True)
        ranks = np.argsort(rng.permutation(len(groups)))
        return _names(ranks, len(groups), rules)[codes]
    return _names(np.arange(len(meta)), len(meta), rules)


def _names(ranks: np.ndarray, count: int, rules: SplitRules) -> np.ndarray:
    """Split of each rank 0 ... count - 1; the boundaries are round(cumulated share * count), but none is empty."""
    shares = np.asarray(rules.fractions, dtype=np.float64)
    total = shares.sum()
    if total > 1:
        shares = shares / total
    ends = _filled(np.round(np.cumsum(shares) * count).astype(int), shares)
    if total < 1 and not np.isclose(total, 1):
        ends = np.append(ends, count)
    labels = list(rules.labels[: len(ends)])
    names = np.array([*labels, *[None] * (len(ends) + 1 - len(labels))], dtype=object)
    return names[np.searchsorted(ends, ranks, side="right")]


def _filled(ends: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Boundaries moved so that a split with a share gets one, while the largest can spare one."""
    sizes = np.diff(ends, prepend=0)
    for index in np.flatnonzero((sizes == 0) & (shares > 0)):
        largest = int(sizes.argmax())
        if sizes[largest] > 1:
            sizes[largest] -= 1
            sizes[index] += 1
    return np.cumsum(sizes)


def _with_group_split(meta: Table, rules: SplitRules) -> Table:
    """Adds <group>_split, the split that holds most of the group's rows (the first on ties), and filters."""
    import pandas as pd

    counts = pd.crosstab(meta[rules.group_col], meta["split"]).reindex(columns=list(rules.labels), fill_value=0)
    column = f"{rules.group_col}_split"
    meta = meta.assign(**{column: meta[rules.group_col].map(counts.idxmax(axis=1))})
    if rules.grouped_temporal_filter == "True":
        return meta[meta["split"] == meta[column]]
    if rules.grouped_temporal_filter == "train":
        return meta[(meta["split"] == "train") == (meta[column] == "train")]
    return meta


def in_several_splits(table: Table, column: str) -> dict[str, list[str]]:
    """Values of a column that are in more than one split -> these splits; empty values are left out."""
    rows = table[[column, "split"]].dropna().drop_duplicates()
    several = rows[rows.duplicated(column, keep=False)]
    return {str(value): part["split"].tolist() for value, part in several.groupby(column, sort=True)}


def check_patients(table: Table, allowed: bool) -> list[str]:
    """What is said of patients in several splits; `table` has columns patient_id and split.

    Raises: ConfigError naming them, unless they are `allowed`.
    """
    shared = in_several_splits(table, "patient_id") if "patient_id" in table.columns else {}
    if not shared:
        return []
    patients = listed([f"{name} ({', '.join(splits)})" for name, splits in shared.items()], NAMED)
    text = f"{len(shared)} of {table['patient_id'].nunique()} patients are in several splits: {patients}"
    if not allowed:
        raise ConfigError(
            f"{text}; scores of valid and test would flatter. Correct the column split, or set shared_patients=true"
        )
    return [f"{text}; scores of valid and test flatter"]


def equal_signals(meta: Table, split: Table) -> list[str]:
    """What is said of records of equal samples that are in several splits."""
    if "signal_sha1" not in meta.columns:  # made by an earlier version
        return []
    rows = meta[["idx", "path", "signal_sha1"]].merge(split[["idx", "split"]], on="idx")
    found = in_several_splits(rows, "signal_sha1")
    if not found:
        return []
    rows = rows[rows["signal_sha1"].isin(found)].drop_duplicates(["signal_sha1", "split"])
    groups = rows.groupby("signal_sha1", sort=False)
    names = [" = ".join(f"{path} ({name})" for path, name in zip(part["path"], part["split"])) for _, part in groups]
    return [f"{len(found)} signals are in several splits, sample by sample: {listed(names, NAMED)}"]


def empty_splits(records: Counter[str], wanted: Sequence[str], total: int) -> list[str]:
    """What is said of splits that should hold records and hold none; `total` counts patients."""
    empty = [name for name in wanted if not records[name]]
    advice = {"train": "there is nothing to train on", "valid": "no checkpoint can be selected", "test": ""}
    return [
        f"{name} is empty: {total} patients or records in all{'; ' if advice.get(name) else ''}{advice.get(name, '')}"
        for name in empty
    ]


def split_segments(segments: Table, meta_split: Table, where: object = "the table of segments") -> Table:
    """The segments of the records in `meta_split`: idx, save_file, split, path, sample_size and what else it holds."""
    segments = segments[segments["path"].notna()]
    joined = segments.loc[:, ["path", "save_file", "sample_size"]].merge(meta_split, on="save_file", how="inner")
    rest = [name for name in meta_split.columns if name not in ("idx", "save_file", "split")]
    for name in ("idx", "sample_size"):
        joined[name] = numbers(joined, name, where, whole=True)
    return joined.loc[:, ["idx", "save_file", "split", "path", "sample_size", *rest]]


def split_step(root: Path, meta_file: str, segmented_file: str, suffix: str, rules: SplitRules) -> None:
    """`ecg-preprocess split`: meta_file, segmented_file -> the same names with `suffix`, in `root`."""
    meta = read_table(root / meta_file, ["idx", "save_file"], text=["save_file"])
    segments = read_table(root / segmented_file, ["path", "save_file", "sample_size"], text=["path", "save_file"])
    meta_split = split_records(meta, rules)
    segment_split = split_segments(segments, meta_split, root / segmented_file)
    inputs = [root / meta_file, root / segmented_file]
    outputs = [path.with_name(f"{path.stem}{suffix}{path.suffix}") for path in inputs]
    check_no_input(outputs, inputs)
    for path, table in zip(outputs, (meta_split, segment_split)):
        write_table(path, table)
    for label in rules.labels[: len(rules.fractions) + 1]:
        records, pieces = (int((table["split"] == label).sum()) for table in (meta_split, segment_split))
        print(f"{label:8} {records:8} records {pieces:8} segments")
    chosen = meta.drop(columns=["split"], errors="ignore").merge(meta_split[["idx", "split"]], on="idx")
    for text in [*check_patients(chosen, allowed=True), *equal_signals(meta, meta_split)]:
        print(f"note: {text}")
