"""Split tables -> identification manifests: who is who in training, gallery against probe in validation."""

from collections.abc import Sequence
from pathlib import Path

from ecg_signals.config import ConfigError
from ecg_signals.preprocess.manifests import read_segments, write_rows
from ecg_signals.tables import Table


def identification_step(
    split_files: Sequence[Path], group_col: str, folder: Path, within_records: bool = False
) -> None:
    """`ecg-preprocess identify`: train.tsv, and <split>_gallery.tsv, <split>_probe.tsv for every other split.

    Only people with two records count. train.tsv lists all their segments with a class per person; the other splits
    have the first segment of a person's first record in the gallery, and that of the second as the probe.

    Args:
        within_records: two segments are enough, even of one record; the first is gallery, the second probe.
    """
    import pandas as pd

    segments = read_segments(split_files, ["save_file", group_col])
    segments = segments[segments[group_col].notna()]
    unit = "path" if within_records else "save_file"
    several = segments.groupby(group_col)[unit].transform("nunique") > 1
    if not several.any():
        advice = "" if within_records else "; allow segments of one record with --within_records"
        raise ConfigError(f"nobody in {', '.join(map(str, split_files))} has two {unit}s{advice}")
    parts: dict[str, Table] = {}
    for split, rows in segments[several].groupby("split", sort=False):
        if split == "train":
            parts["train"] = rows
            continue
        first = rows.drop_duplicates(unit)  # one segment of each record
        turn = first.groupby(group_col).cumcount()
        both = first[group_col].isin(first[group_col][turn == 1])
        parts[f"{split}_gallery"] = first[both & (turn == 0)]
        parts[f"{split}_probe"] = first[both & (turn == 1)]
    listed = []
    for split, rows in parts.items():
        people = parts[split.replace("_probe", "_gallery")][group_col].drop_duplicates()  # numbered in their order
        numbers = dict(zip(people, range(len(people))))
        listed.append(rows.assign(split=split, number=rows[group_col].map(numbers)))
    counts = write_rows(pd.concat(listed), folder, list(parts), ["sample_size", "number"], split_files)
    for split, count in counts.items():
        print(f"{folder / f'{split}.tsv'}: {count} segments of {parts[split][group_col].nunique()} people")
