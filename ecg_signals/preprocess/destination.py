"""DEST: what is written there never takes the place of what the user put there."""

import os
import tempfile
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from pathlib import Path

from ecg_signals.config import ConfigError
from ecg_signals.preprocess.names import surely_distinct
from ecg_signals.preprocess.source import JOURNALS, Source
from ecg_signals.tables import Table


def check_dest(source: Source, records: Table, dest: Path, outputs: Sequence[str]) -> None:
    """Called before anything is written.

    Args:
        outputs: files and folders below DEST that will be written.
    Raises: ConfigError when one of them is an input, holds inputs, or is there without being ours.
    """
    check_inputs_stay(source, records, dest, outputs)
    if any((dest / name).exists() for name in JOURNALS):
        return
    for name in outputs:
        path = dest / name
        if path.is_file() or (path.is_dir() and any(path.iterdir())):
            raise ConfigError(
                f"{path} is there already, and no run of ecg-preprocess made it; it would be overwritten. "
                f"Give another folder as DEST, or move it away"
            )


def check_inputs_stay(source: Source, records: Table, dest: Path, outputs: Sequence[str]) -> None:
    """Raises: ConfigError when a record or table that is read lies where something will be written."""
    places = {(dest / name).resolve() for name in outputs}
    folders = {os.path.dirname(path): path for path in records["path"]}
    for given in chain((source.folder / path for path in folders.values()), source.tables()):
        real = given.resolve()
        taken = next((place for place in (real, *real.parents) if place in places), None)
        if taken is not None:
            raise ConfigError(
                f"the input {given} lies where ecg-preprocess would write ({taken}). Give another folder as DEST"
            )


def check_distinct(names: Collection[str], paths: Iterable[str], dest: Path) -> None:
    """Raises: ConfigError naming two inputs whose outputs would be one file, on a disk that ignores case too."""
    fold = _ignores_case(dest)
    keys = [unicodedata.normalize("NFC", name).casefold() for name in names] if fold else names
    seen: dict[str, tuple[str, str]] = {}
    for key, name, path in zip(keys, names, paths) if not surely_distinct(keys) else ():
        if key in seen:
            other, first = seen[key]
            same = f"as {name}" if name == other else f"as {other} and {name}, which are one file on this disk"
            raise ConfigError(f"{first} and {path} would both be stored {same}; rename one of them")
        seen[key] = name, path


def _ignores_case(folder: Path) -> bool:
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".case") as file:
        return os.path.exists(file.name.replace(".case", ".CASE"))
