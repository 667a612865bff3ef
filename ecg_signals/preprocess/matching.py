"""Which record a row of a user's table means, and what is said of rows and records that have no counterpart."""

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from ecg_signals.config import ConfigError, listed

NAMED = 3  # of the unmatched, in a message


def match_files(names: Sequence[str], files: Sequence[str], folder: Path) -> list[str | None]:
    """The file that each entry means: its path below `folder` or its bare name, with or without extension; else None.

    An absolute entry, or one that climbs, may lead to a file below `folder`.
    Raises: ConfigError for a bare name that several files have.
    """
    whole = {str(PurePosixPath(path).with_suffix("")): path for path in files} | {path: path for path in files}
    bare: dict[str, list[str]] = {}
    for path in files:
        for key in {PurePosixPath(path).name, PurePosixPath(path).stem}:
            bare.setdefault(key, []).append(path)
    result: list[str | None] = []
    for name in names:
        entry = below(name, folder)
        candidates = [whole[entry]] if entry in whole else bare.get(entry, [])
        if len(candidates) > 1:
            raise ConfigError(f"the table's entry '{name}' could be {' or '.join(candidates[:2])}; give the folder too")
        result.append(candidates[0] if candidates else None)
    return result


def below(name: str, folder: Path) -> str:
    """An entry as a path below `folder` with /, if it leads there; else normalised as it stands."""
    entry = os.path.normpath(name.strip().replace("\\", "/"))
    full = os.path.normpath(folder / entry)
    return os.path.relpath(full, folder) if Path(full).is_relative_to(folder) else entry


def tell_unmatched(
    table: Path, rows: Sequence[str], lost: Sequence[str], records: int, without: Sequence[str], lacking: str
) -> list[str]:
    """Remarks with counts about what has no counterpart.

    Args:
        rows: the entries of the table, `lost` those that mean no record.
        records: number of records, `without` those that no row means.
        lacking: what they lack then.
    Raises: ConfigError if no row means a record.
    """
    if rows and len(lost) == len(rows):
        example = f"; records are called {', '.join(without[:NAMED])}" if without else ""
        raise ConfigError(
            f"no row of {table} names a record (found {', '.join(lost[:NAMED])}{example}). Write their paths below "
            f"SOURCE, or their bare names, with or without extension"
        )
    told = []
    if lost:
        told.append(f"{len(lost)} of {len(rows)} rows of {table} name no record: {listed(lost, NAMED)}")
    if without:
        told.append(f"{len(without)} of {records} records have no row in {table}: {listed(without, NAMED)}; {lacking}")
    return told
