"""Files of report texts, and tables of what a labeler says of them."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecg_signals.config import ConfigError, listed
from ecg_signals.labeler.labeler import Labeler, Labelled
from ecg_signals.labeler.normalise import normalise
from ecg_signals.limits import read_json, shown
from ecg_signals.tables import Column, Table, header_of, read_table, read_text

if TYPE_CHECKING:
    from ecg_signals.labeler.templates import Templates

KEYS = ("idx", "study_id", "path", "save_file", "filename", "filename_hr", "ecg_id")  # columns that say whose report
TEXTS = ("report", "text")  # columns that hold one
_LINE = re.compile(r"report_\d+")  # columns of MIMIC-IV-ECG's machine reports, a statement each


@dataclass(frozen=True)
class Reports:
    """Report texts.

    Attributes:
        key: name of what says whose report it is.
        keys: its values, one per report.
        texts: "" where a record has no report.
    """

    key: str
    keys: Sequence[object]
    texts: list[str]


def read_reports(path: Path, column: str | None = None) -> Reports:
    """Read a .csv with a column of reports or MIMIC-IV-ECG's report_0 to report_17, a .json list, or lines of text.

    Args:
        column: of a .csv, that holds the reports; None: report or text, else the columns report_N.
    Raises: ConfigError if it is none of these, or two rows are of one record.
    """
    if path.suffix.lower() == ".json":
        found = read_json(path)
        if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
            raise ConfigError(f"{path} is no list of texts; write [\"sinus rhythm\", ...], or give a .csv")
        return Reports("idx", range(len(found)), found)
    if path.suffix.lower() not in (".csv", ".tsv", ".gz"):
        lines = read_text(path).splitlines()
        return Reports("idx", range(len(lines)), lines)
    return _of_table(path, column)


def _of_table(path: Path, column: str | None) -> Reports:
    names = header_of(path) if path.suffix != ".gz" else list(map(str, read_table(path).columns))
    lines = sorted(filter(_LINE.fullmatch, names), key=lambda name: int(name.partition("_")[2]))
    texts = [column] if column else [name for name in names if name in TEXTS][:1] or lines
    if not texts:
        raise ConfigError(f"{path} has no column {', '.join(TEXTS)} or report_0; say --column, one of {listed(names)}")
    table = read_table(path, texts, text=texts)
    key = next((name for name in KEYS if name in table.columns), None)
    if key is None:
        key, table = "idx", table.assign(idx=range(len(table)))
    repeated = table[key][table[key].duplicated()]
    if len(repeated):
        raise ConfigError(f"{path} has {key} {shown(repeated.iloc[0])} twice; leave one row per record")
    return Reports(key, list(table[key]), joined_reports(table, texts))


def joined_reports(table: Table, columns: Sequence[str]) -> list[str]:
    """The statements of every row that are not empty, joined by '; '."""
    cells = table[list(columns)].astype(object).where(table[list(columns)].notna(), "").to_numpy()
    return ["; ".join(str(cell).strip() for cell in row if str(cell).strip()) for row in cells]


def label_reports(
    reports: Reports, templates: "Templates", *, published: bool = False, as_is: bool = False
) -> list[Labelled]:
    """What every report says; equal texts are read once.

    Args:
        published: see `Labeler`.
        as_is: leave the texts as they are; else `normalise` them first.
    """
    from tqdm import tqdm

    labeler, known = Labeler(templates, published), dict[str, Labelled]()
    for text in tqdm(dict.fromkeys(reports.texts), unit="text", desc="labels"):
        known[text] = labeler(text if as_is else normalise(text))
    return [known[text] for text in reports.texts]


def label_table(reports: Reports, found: Sequence[Labelled], names: Sequence[str] | None, hard: bool) -> Table:
    """The key, then a column per label: its probability, 0 where the report does not name it, NaN without a report.

    Args:
        names: of the labels, in order; None: all that were found, sorted.
        hard: 1 for every probability above 0.
    """
    import pandas as pd

    names = sorted({name for labelled in found for name in labelled.labels}) if names is None else list(names)
    place = {name: number for number, name in enumerate(names)}
    values = np.zeros((len(found), len(names)), np.float32)
    for row, labelled in zip(values, found):
        for name in labelled.labels.keys() & place.keys():
            row[place[name]] = 1.0 if hard else labelled.labels[name]
    values[[not text.strip() for text in reports.texts]] = np.nan
    table = pd.DataFrame(np.round(values.astype(np.float64), 6), columns=names)
    table.insert(0, reports.key, list(reports.keys), allow_duplicates=True)
    return table


def label_counts(table: Table) -> Table:
    """ECG-FM's label_def.csv: name, count and share of the reports that have a label, and (1 - share) / share."""
    import pandas as pd

    names = list(table.columns[1:])
    values = table[names].astype(float)
    count, known = (values > 0).sum(), values.notna().sum()
    share = count / known.where(known > 0)
    weight = ((1 - share) / share).where(count > 0)
    columns: dict[str, Iterable[object] | Column] = {"name": names, "count": count, "pos_percent": share}
    return pd.DataFrame({**columns, "pos_weight": weight}).reset_index(drop=True)


def matches_table(reports: Reports, found: Sequence[Labelled]) -> Table:
    """The key, the text as it was read, the patterns in it, and what no pattern matched."""
    import pandas as pd

    rows = {
        reports.key: list(reports.keys),
        "text": [labelled.text for labelled in found],
        "patterns": ["; ".join(labelled.patterns) for labelled in found],
        "unmatched": [" ".join(re.findall(r"[^\s;,]+", labelled.unmatched)) for labelled in found],
    }
    return pd.DataFrame(rows)
