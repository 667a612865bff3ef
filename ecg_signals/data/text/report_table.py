"""Report texts by record number, from the table of records that ecg-preprocess writes."""

from collections.abc import Mapping
from pathlib import Path

from ecg_signals.config import ConfigError
from ecg_signals.tables import read_table


def read_reports(path: Path, column: str, diagnoses: str | None) -> Mapping[int, tuple[str, str]]:
    """idx -> report and what it says in codes ("" where there is none).

    Raises: ConfigError for a column that is missing.
    """
    needed = ["idx", column, *([diagnoses] if diagnoses else [])]
    table = read_table(path, needed, text=needed[1:]).fillna("")
    said = table[diagnoses] if diagnoses else [""] * len(table)
    found = {int(idx): (str(text), str(codes)) for idx, text, codes in zip(table["idx"], table[column], said)}
    if not any(text for text, _ in found.values()):
        raise ConfigError(
            f"the column {column} of {path} is empty; name the one with reports: dataset.report_column=NAME"
        )
    return found
