"""One array for many files: row i of `values.npy` belongs to line i of `names.txt`, explained by `settings.json`.

`ecg-cluster` writes frame features and cluster targets in this form; datasets read rows by file name.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError, resolve_input

VALUES, NAMES, SETTINGS = "values.npy", "names.txt", "settings.json"


class PackedRows:
    """A folder of packed rows, memory-mapped.

    Attributes:
        settings: how the rows were made.
        names: file names, in row order.
        values: [rows, ...], read-only.
    Raises: ConfigError when the folder is not there, or not complete.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = resolve_input(folder)
        if not (self.folder / SETTINGS).is_file():
            raise ConfigError(f"{self.folder} holds no {SETTINGS}; give a folder that ecg-cluster wrote")
        self.settings: dict[str, Any] = json.loads((self.folder / SETTINGS).read_text())
        if not (self.folder / VALUES).is_file():
            raise ConfigError(f"{self.folder} is not complete yet; run the ecg-cluster command that makes it once more")
        self.names = (self.folder / NAMES).read_text().splitlines()
        self.values = np.load(self.folder / VALUES, mmap_mode="r")

    def rows(self, names: list[str]) -> np.ndarray:
        """[names] int64, the row of each. Raises: ConfigError naming the first that are missing."""
        known = {name: number for number, name in enumerate(self.names)}
        found = [known.get(name) for name in names]
        missing = [name for name, row in zip(names, found) if row is None]
        if missing:
            raise ConfigError(
                f"{self.folder} has no row for {len(missing)} of {len(names)} files ({', '.join(missing[:3])} ...); "
                f"make it from a CSV that lists them"
            )
        return np.array(found, dtype=np.int64)
