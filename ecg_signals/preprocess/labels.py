"""Label tables -> the files that fine-tuning reads: y.npy, label_def.csv, pos_weight.txt."""

import math
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.files import replacing
from ecg_signals.limits import MAX_ROWS_PER_LABELLED, check_no_input, shown
from ecg_signals.preprocess.matching import match_files, tell_unmatched
from ecg_signals.tables import Column, Table, check_columns, numbers, read_table, read_tables, write_table, write_text

_WORDS = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0, "": math.nan, "nan": math.nan, "none": math.nan}


def numeric_labels(labels: Table, where: object = "the table of labels") -> Table:
    """Columns idx + one float column per label: 0, 1, or NaN where the table has no value.

    Raises: ConfigError for a repeated idx or a value that is neither 0, 1, true, false nor empty.
    """
    check_columns(labels, ["idx"], str(where))
    repeated = labels["idx"][labels["idx"].duplicated()]
    if len(repeated):
        raise ConfigError(f"{where} has idx {repeated.iloc[0]} twice; expected one row per record")
    idx = numbers(labels, "idx", where, whole=True)
    if (idx < 0).any():
        raise ConfigError(f"{where} has idx {idx.min()}; expected the row numbers of meta.csv, 0 and up")
    result = labels[["idx"]].assign(idx=idx)
    names = [name for name in labels.columns if name != "idx"]
    if not names:
        raise ConfigError(f"{where} has no column besides idx; add one column of 0 and 1 per label")
    return result.assign(**{name: _numbers(labels[name], name, where) for name in names})


def _numbers(column: Column, name: str, where: object) -> np.ndarray:
    if column.dtype.kind in "biuf":
        values = column.to_numpy(dtype=np.float64)
    else:
        words = column.astype(str).str.strip().str.lower()
        values = np.array([_WORDS[word] if word in _WORDS else _number(word) for word in words])
    bad = ~(np.isnan(values) | ((values >= 0) & (values <= 1)))
    if bad.any():
        found = column.iloc[int(np.argmax(bad))]
        expected = "expected 0, 1, true, false, or nothing where it is unknown"
        raise ConfigError(f"{where}: label '{shown(name)}' holds '{shown(found)}'; {expected}")
    return values


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return math.inf  # reported with the column's name


def multi_hot(idx: Sequence[int], found: Sequence[Collection[str] | None], names: Sequence[str] | None = None) -> Table:
    """idx + one column per class: 1 where the record has it, else 0; NaN throughout where `found` is None.

    Args:
        found: the classes of each record.
        names: the columns in order; None: all classes that were found, sorted.
    """
    import pandas as pd

    if names is None:
        names = sorted({name for classes in found for name in classes or ()})
    values = np.array([[np.nan if classes is None else name in classes for name in names] for classes in found])
    table = pd.DataFrame(values.reshape(len(found), len(names)), columns=list(names), dtype=float)
    table.insert(0, "idx", list(idx))
    return table


def label_matrix(labels: Table) -> np.ndarray:
    """float64 [max idx + 1, labels]; row = idx. A row that `labels` lacks is 0, a value that it lacks is NaN."""
    rows = int(labels["idx"].max()) + 1 if len(labels) else 0
    if rows > MAX_ROWS_PER_LABELLED * len(labels) + 10_000:
        raise ConfigError(
            f"the table of labels has {len(labels)} rows, but idx up to {rows - 1:,}; expected row numbers of meta.csv"
        )
    matrix = np.zeros((rows, labels.shape[1] - 1))
    matrix[labels["idx"]] = labels.drop(columns="idx").to_numpy(dtype=np.float64)
    return matrix


def label_definition(labels: Table, meta_split: Table, partial: bool = False) -> Table:
    """One row per label: positives, their share p and (1 - p) / p per split, then over all splits.

    Args:
        labels: idx + float columns.
        meta_split: idx, split: the records that are counted.
        partial: count each label over the records where it is known; else only records that have all labels.
    """
    import pandas as pd

    rows = meta_split[["idx", "split"]].merge(labels, on="idx", how="inner")
    names = [name for name in labels.columns if name != "idx"]
    rows = rows if partial else rows.dropna(subset=names)
    values, split = rows[names], rows["split"]
    known, count = (each.groupby(split).sum().T for each in (values.notna(), values >= 0.5))  # [labels, splits]
    share = count / known
    kinds = {"pos_count": count, "pos_percent": share, "pos_weight": (1 - share) / share}
    table = pd.concat([part.add_prefix(f"{kind}_") for kind, part in kinds.items()], axis=1)
    every, positive = values.notna().sum(), (values >= 0.5).sum()
    table = table.assign(pos_count_all=positive, pos_percent_all=positive / every)
    return table.rename_axis(index="name", columns=None).reset_index()


def positive_weights(definition: Table, undefined: float = 1.0) -> tuple[list[float], list[str]]:
    """Weights of the positives in training, rounded to 6 decimals, and the labels that have none.

    Args:
        undefined: the weight of a label without training positives, whose (1 - p) / p is infinite.
    """
    column = definition.get("pos_weight_train")
    if column is None:
        return [undefined] * len(definition), definition["name"].tolist()
    weights = [round(float(weight), 6) for weight in column]
    without = [name for name, weight in zip(definition["name"], weights) if not math.isfinite(weight)]
    return [weight if math.isfinite(weight) else undefined for weight in weights], without


def write_label_files(
    folder: Path, labels: Table, meta_split: Table, *, partial: bool = False, undefined: float = 1.0
) -> list[str]:
    """y.npy, label_def.csv, pos_weight.txt in `folder`. Returns: the labels without training positives."""
    definition = label_definition(labels, meta_split, partial)
    weights, without = positive_weights(definition, undefined)
    with replacing(folder / "y.npy") as path, open(path, "wb") as file:
        np.save(file, label_matrix(labels))
    write_table(folder / "label_def.csv", definition)
    write_text(folder / "pos_weight.txt", "[" + ",".join(map(str, weights)) + "]")
    return without


def labelled_records(labels: Table, partial: bool = False) -> set[int]:
    """idx of the records that have all labels, or, with `partial`, at least one."""
    known = labels.drop(columns="idx").notna()
    return set(labels["idx"][known.any(axis=1) if partial else known.all(axis=1)])


def labels_step(
    folder: Path,
    labels_file: Path,
    meta_splits: Sequence[Path],
    segmented_splits: Sequence[Path] = (),
    meta_save: Path | None = None,
    segmented_save: Path | None = None,
    *,
    partial: bool = False,
    undefined: float = 1.0,
) -> None:
    """`ecg-preprocess labels`: labels.csv and split tables -> the label files, and the splits of labelled records."""
    labels = numeric_labels(read_table(labels_file, ["idx"]), labels_file)
    meta = read_tables(meta_splits, ["idx", "split"])
    with_all = labelled_records(labels, partial)
    meta = meta[meta["idx"].isin(with_all)]
    if meta.empty:
        tables = ", ".join(map(str, meta_splits))
        raise ConfigError(f"no record of {tables} has its idx in {labels_file}; give tables of one dataset")
    outputs = [*(folder / name for name in ("y.npy", "label_def.csv", "pos_weight.txt")), meta_save, segmented_save]
    check_no_input(filter(None, outputs), [labels_file, *meta_splits, *segmented_splits])
    without = write_label_files(folder, labels, meta, partial=partial, undefined=undefined)
    if meta_save:
        write_table(meta_save, meta)
    if segmented_save:
        if not segmented_splits:
            raise ConfigError("--labeled_segmented_splits_save_file needs --segmented_splits segmented_split.csv")
        segments = read_tables(segmented_splits, ["idx", "path", "split"])
        write_table(segmented_save, segments[segments["idx"].isin(with_all)])
    print(f"{labels.shape[1] - 1} labels, {len(meta)} labelled records -> {folder}")
    if without:
        print(f"without training positives (weight {undefined} in pos_weight.txt): {', '.join(without)}")


def _names_records(column: Column) -> bool:
    """True for a column of whole numbers or texts that differ in every row."""
    first = column.iloc[0]
    return column.dtype.kind in "iuOUT" and isinstance(first, (str, int, np.integer)) and bool(column.is_unique)


def join_label_file(meta: Table, path: Path, folder: Path) -> tuple[Table, list[str]]:
    """idx + labels from the user's CSV: it names the records by idx or by another column of `meta` with unique values.

    A path may be that of the record, below `folder` or absolute, or its bare name, with or without extension. The other
    columns, but those that `meta` has too, are the labels, in their order.

    Returns: the labels, and remarks about rows and records without a counterpart.
    Raises: ConfigError if the table does not say which record a row belongs to, if no row names one, or two the same.
    """
    table = read_table(path)
    unique = [name for name in meta.columns if _names_records(meta[name])]
    preferred = [name for name in ("idx", "path", "save_file", *table.columns) if name in table.columns]
    key = next((name for name in preferred if name in unique), None)
    if key is None:
        known = ", ".join(unique)
        raise ConfigError(f"{path} does not say which record a row belongs to; add one of meta.csv's columns {known}")
    stated, records = _keys(table[key]), _keys(meta[key])
    there = set(records)
    means: list[str | None] = [name if name in there else None for name in stated]
    if key == "path":
        means = match_files(stated, records, folder)
    lost = [name for name, record in zip(stated, means) if record is None]
    without = sorted(there.difference(filter(None, means)))
    remarks = tell_unmatched(path, stated, lost, len(records), without, "their labels are unknown")
    table = table.assign(**{key: means}).dropna(subset=[key])
    repeated = table[key][table[key].duplicated()]
    if len(repeated):
        raise ConfigError(f"{path} has {key} {repeated.iloc[0]} twice; expected one row per record")
    names = [name for name in table.columns if name not in meta.columns]
    values = table.set_index(key)[names].reindex(records)
    labels = values.reset_index(drop=True).assign(idx=meta["idx"].to_numpy())[["idx", *names]]
    return numeric_labels(labels, path), remarks


def _keys(column: Column) -> list[str]:
    """Values as text, whole numbers without a point; empty ones as ""."""
    whole = column.dtype.kind == "f" and bool((column.dropna() % 1 == 0).all())
    return [("" if value != value else str(int(value) if whole else value).strip()) for value in column]
