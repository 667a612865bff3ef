"""Split tables -> manifests, manifests -> CMSC pairs, and a random share of a training manifest."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.limits import check_no_input, path_below
from ecg_signals.preprocess.names import surely_distinct
from ecg_signals.tables import Table, numbers, read_table, read_text, write_lines, write_text


def write_manifests(
    segments: Table, folder: Path, splits: Sequence[str] = (), inputs: Sequence[Path] = ()
) -> dict[str, int]:
    """One <split>.tsv per split with rows `file<tab>samples`.

    Args:
        segments: columns path, sample_size, split.
        splits: names that get a manifest even if no segment is in them.
        inputs: as for `write_rows`.
    Returns: rows per split.
    """
    if segments.empty:
        raise ConfigError("there is no segment to list in a manifest: no record is long enough, or all were left out")
    return write_rows(segments, folder, list(dict.fromkeys([*splits, *segments["split"]])), ["sample_size"], inputs)


def write_rows(
    segments: Table, folder: Path, splits: Sequence[str], columns: Sequence[str], inputs: Sequence[Path] = ()
) -> dict[str, int]:
    """<split>.tsv for each of `splits`: line 1 the longest folder common to all files, then the file and `columns`.

    Line 1 starts with a tab, as fairseq-signals writes it; readers strip it.

    Args:
        inputs: tables that were read, which no manifest may be written over.
    Returns: rows per split.
    Raises: ConfigError for a split whose name leads out of `folder`, and a path that would break a line.
    """
    paths = segments["path"]
    broken = next((path for path in paths if not set("\t\n\r").isdisjoint(path)), None)
    if broken is not None:
        raise ConfigError(f"{broken!r} holds a tab or a line break, which a manifest cannot; rename it")
    tidy = os.path.abspath if len({os.path.isabs(path) for path in paths}) > 1 else os.path.normpath
    root = os.path.commonpath({os.path.dirname(tidy(path)) for path in paths})
    root = os.path.join(root, "")  # ends in a slash; empty when relative paths have nothing in common
    counts = {}
    files = {split: path_below(folder, f"{split}.tsv", "the column split") for split in map(str, splits)}
    check_no_input(files.values(), inputs)
    for split, file in files.items():
        rows = segments.loc[segments["split"] == split, ["path", *columns]]
        each = ([tidy(path)[len(root) :], *rest] for path, *rest in rows.itertuples(index=False))
        lines = ("\t".join(map(str, row)) + "\n" for row in each)
        write_lines(file, chain([f"\t{root or './'}\n"], lines))
        counts[split] = len(rows)
    return counts


def manifest_step(split_files: Sequence[Path], folder: Path) -> None:
    """`ecg-preprocess manifest`: segmented_split.csv of one or more datasets -> train.tsv, valid.tsv, test.tsv."""
    segments = read_segments(split_files)
    repeated = segments["path"][segments["path"].duplicated()]
    if len(repeated):
        tables_named = ", ".join(map(str, split_files))
        raise ConfigError(f"{repeated.iloc[0]} is listed twice in {tables_named}; name every table once")
    for split, count in write_manifests(segments, folder, inputs=split_files).items():
        print(f"{folder / f'{split}.tsv'}: {count} segments")


def read_segments(paths: Sequence[Path], needed: Sequence[str] = ()) -> Table:
    """Split tables of segments: the rows with path and split, samples as whole numbers, and the columns `needed`."""
    import pandas as pd

    columns, tables = ["path", "sample_size", "split", *needed], []
    for path in paths:
        table = read_table(path, columns, text=["path", "split", "save_file"])
        table = table[table["path"].notna() & table["split"].notna()]
        tables.append(table.assign(sample_size=numbers(table, "sample_size", path, whole=True)))
    return pd.concat(tables, ignore_index=True)


def read_manifest(path: Path) -> tuple[str, list[str]]:
    """Root and rows `file<tab>samples` of a plain manifest. Raises: ConfigError for any other kind of file."""
    lines = read_text(path).splitlines()
    if not lines:
        raise ConfigError(f"{path} is empty; expected the root folder in line 1")
    root = lines.pop(0).strip()
    for number, line in enumerate(lines, start=2):
        if line.count("\t") != 1 or not line.partition("\t")[2].isdigit():
            raise ConfigError(
                f"{path} line {number} is {line!r}; expected `file<tab>samples`, as `ecg-preprocess manifest` writes"
            )
    return root, lines


def pair_segments(numbers: Iterable[int], allow_gaps: bool = False) -> list[tuple[int, int]]:
    """Segment numbers -> disjoint pairs of neighbours in time, from the first on: 0, 1, 2, 3, 4 -> (0, 1), (2, 3).

    Where numbers are missing, only i and i + 1 make a pair: 0, 2, 3 -> (2, 3). With `allow_gaps` the sorted
    numbers are paired as they come, (0, 2), as fairseq-signals does.
    """
    pairs: list[tuple[int, int]] = []
    waiting = None
    for number in sorted(set(numbers)):
        if waiting is not None and (allow_gaps or number == waiting + 1):
            pairs.append((waiting, number))
            waiting = None
        else:
            waiting = number
    return pairs


def cmsc_manifest(manifest: Path, dest: Path, extension: str = "mat", allow_gaps: bool = False) -> int:
    """A plain manifest of segments `<stem>_<i>.<extension>` -> rows `<stem><tab>samples<tab>0<tab>i,j`.

    Segments without a neighbour are dropped. Returns: the number of pairs.
    """
    root, rows = read_manifest(manifest)
    pattern = re.compile(rf"(.+)_(\d+)\.{re.escape(extension)}")
    if rows and not any(pattern.fullmatch(_file(row)) for row in rows):
        raise ConfigError(
            f"{manifest} lists {_file(rows[0])!r}; pairs need files called <record>_<number>.{extension}. "
            "Set --ext to the files' extension, or cut the records with `ecg-preprocess`"
        )
    pairs = 0

    def lines() -> Iterator[str]:
        nonlocal pairs
        yield f"{root}\n{extension}\n"
        for stem, segments in _records(rows, pattern):
            for i, j in pair_segments(segments, allow_gaps):
                pairs += 1
                yield f"{stem}\t{segments[i]}\t0\t{i},{j}\n"

    write_lines(dest, lines())
    return pairs


def _file(row: str) -> str:
    return row.partition("\t")[0]


def _records(rows: Sequence[str], pattern: re.Pattern[str]) -> Iterator[tuple[str, dict[int, str]]]:
    """Each record's samples by segment, in the order of the rows, where a record's usually follow each other."""

    def segments() -> Iterator[tuple[str, int, str]]:
        for row in rows:
            name, _, samples = row.partition("\t")
            if found := pattern.fullmatch(name):
                yield found[1], int(found[2]), samples

    if surely_distinct(stem for stem, _ in groupby(segments(), itemgetter(0))):
        for stem, group in groupby(segments(), itemgetter(0)):
            yield stem, {number: samples for _, number, samples in group}
        return
    gathered: dict[str, dict[int, str]] = {}
    for stem, number, samples in segments():
        gathered.setdefault(stem, {})[number] = samples
    yield from gathered.items()


def pairs_step(folder: Path, dest: Path, extension: str = "mat", allow_gaps: bool = False) -> dict[str, int]:
    """Every .tsv of `folder` -> a CMSC manifest of the same name in `dest`/cmsc. Returns: pairs per file name."""
    manifests = sorted(folder.glob("*.tsv"))
    if not manifests:
        raise ConfigError(f"there is no .tsv in {folder}; make manifests first: ecg-preprocess manifest")
    check_no_input([dest / "cmsc" / path.name for path in manifests], manifests)
    return {path.name: cmsc_manifest(path, dest / "cmsc" / path.name, extension, allow_gaps) for path in manifests}


def subset_step(folder: Path, percent: float, dest: Path | None = None, seed: int = 0) -> None:
    """`ecg-preprocess subset`: a share of the records of train.tsv; the other manifests are copied.

    All segments of a chosen record stay. A CMSC folder works too; its rows are pairs of one record.

    Args:
        percent: the share to keep, above 0 and at most 1.
        dest: a new folder; None: `folder`/<percent>.
    """
    if not 0 < percent <= 1:
        raise ConfigError(f"percent is {percent}; it is the share to keep, above 0 and at most 1: 0.1 keeps a tenth")
    train = folder / "train.tsv"
    if not train.is_file():
        raise ConfigError(f"there is no train.tsv in {folder}; name the folder of the manifests with --manifest_dir")
    dest = dest or folder / str(percent)
    if dest.exists():
        raise ConfigError(f"{dest} exists already; remove it or choose another folder with --save_dir")
    lines = read_text(train).splitlines(keepends=True)
    header = 1 if len(lines) < 2 or "\t" in lines[1].strip() else 2  # line 2 of a CMSC manifest is the extension
    stems = [re.sub(r"_\d+\.\w+$", "", line.split("\t")[0]) for line in lines[header:]]
    records = list(dict.fromkeys(stems))
    keep = max(1, round(percent * len(records))) if records else 0
    chosen = {records[i] for i in np.random.default_rng(seed).permutation(len(records))[:keep]}
    kept = [line for line, stem in zip(lines[header:], stems) if stem in chosen]
    for path in sorted(folder.glob("*.tsv")):
        if path.name != "train.tsv":
            write_text(dest / path.name, read_text(path))
    write_text(dest / "train.tsv", "".join([*lines[:header], *kept]))
    print(f"{dest / 'train.tsv'}: {len(chosen)} of {len(records)} records, {len(kept)} of {len(stems)} rows")
