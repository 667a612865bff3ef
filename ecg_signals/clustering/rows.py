"""Writing named rows part by part, so that an interrupted run goes on where it stopped."""

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.data.named_rows import NAMES, SETTINGS, VALUES, NamedRows, read_names, read_settings
from ecg_signals.files import replacing
from ecg_signals.readers.npy_file import load_npy

ROWS_PER_PART = 512  # what an interruption loses at most


def replace_file(path: Path, write: Callable[[Any], None]) -> None:
    """Write a file through a temporary one beside it: `path` is the old file, or the complete new one."""
    with replacing(path, durable=True) as partial, partial.open("wb") as stream:
        write(stream)


class RowWriter:
    """A folder of named rows that is being made; see `data/named_rows.py` for its form.

    Rows are computed in parts, each one file; `finish` joins them. A second run with the same settings finds the parts
    that are there.

    Args:
        folder: made if needed.
        names: one file name per row.
        settings: how rows are made; a folder made with other settings is refused.
    """

    def __init__(self, folder: str | Path, names: list[str], settings: dict[str, Any]) -> None:
        self.folder = Path(folder)
        self.names = names
        broken = next((name for name in names if len(name.splitlines()) != 1), None)
        if broken is not None:
            raise ConfigError(f"the file name {broken!r} is empty or holds a line break; rename the file")
        self.parts = self.folder / "parts"
        self._agree(settings)

    def _agree(self, settings: dict[str, Any]) -> None:
        text = json.dumps(settings, indent=1, sort_keys=True)
        listed = "".join(f"{name}\n" for name in self.names)
        known, names = self.folder / SETTINGS, self.folder / NAMES
        if known.is_file():
            stored = read_settings(self.folder)
            fresh = json.loads(text)
            different = sorted(key for key in {*stored, *fresh} if stored.get(key) != fresh.get(key))
            if different:
                found = ", ".join(f"{key}={stored.get(key)!r} (now {fresh.get(key)!r})" for key in different)
                raise ConfigError(f"{self.folder} was made with {found}; choose another folder or delete this one")
            if names.is_file() and read_names(self.folder) != self.names:
                raise ConfigError(
                    f"{self.folder} was made from another list of files; choose another folder or delete it"
                )
        elif names.exists() or (self.folder / VALUES).exists():
            raise ConfigError(f"{self.folder} holds {NAMES} or {VALUES} of something else; choose another folder")
        replace_file(known, lambda stream: stream.write(text.encode()))
        replace_file(names, lambda stream: stream.write(listed.encode()))

    @property
    def complete(self) -> bool:
        return (self.folder / VALUES).is_file()

    def missing(self) -> list[slice]:
        """Rows of every part that is not there yet; empty when the folder is complete."""
        if self.complete:
            return []
        starts = range(0, len(self.names), ROWS_PER_PART)
        return [
            slice(start, min(start + ROWS_PER_PART, len(self.names)))
            for start in starts
            if not self._part(start).is_file()
        ]

    def _part(self, start: int) -> Path:
        return self.parts / f"{start:010d}.npy"

    def write(self, rows: slice, values: np.ndarray) -> None:
        """Store the values of one part, [rows, ...]."""
        assert len(values) == rows.stop - rows.start
        replace_file(self._part(rows.start), lambda stream: np.save(stream, values))

    def finish(self) -> None:
        """Join the parts into one array; nothing to do when that has been done."""
        if not self.complete:
            replace_file(self.folder / VALUES, self._join)
        shutil.rmtree(self.parts, ignore_errors=True)

    def _join(self, stream: Any) -> None:
        starts = range(0, len(self.names), ROWS_PER_PART)
        first = load_npy(self._part(0), mapped=True)
        header = {
            "descr": np.lib.format.dtype_to_descr(first.dtype),
            "fortran_order": False,
            "shape": (len(self.names), *first.shape[1:]),
        }
        np.lib.format.write_array_header_2_0(stream, header)
        for start in starts:
            stream.write(load_npy(self._part(start)).tobytes())


def written_rows(
    folder: str | Path,
    names: list[str],
    settings: dict[str, Any],
    title: str,
    values: Callable[[list[slice]], Iterable[np.ndarray]],
) -> NamedRows:
    """Named rows in `folder`; `values` gives the arrays of the parts that are missing, in order."""
    writer = RowWriter(folder, names, settings)
    missing = writer.missing()
    for rows, made in zip(missing, progress(values(missing), title, len(missing))):
        writer.write(rows, made)
    writer.finish()
    return NamedRows(folder)


def progress(parts: Iterable[Any], title: str, total: int) -> Iterable[Any]:
    """The parts, with a progress bar on a terminal."""
    from tqdm import tqdm

    return tqdm(parts, desc=title, total=total, unit="part", disable=None)
