"""One array for many files: row i of `values.npy` belongs to line i of `names.txt`, explained by `settings.json`.

`ecg-cluster` writes frame features and cluster targets in this form; datasets read rows by file name.
"""

from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError, resolve_input
from ecg_signals.limits import read_json, regular_file
from ecg_signals.readers.npy_file import load_npy

VALUES, NAMES, SETTINGS = "values.npy", "names.txt", "settings.json"


class NamedRows:
    """A folder of named rows, memory-mapped.

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
        self.settings: dict[str, Any] = read_settings(self.folder)
        if not (self.folder / VALUES).is_file():
            raise ConfigError(f"{self.folder} is not complete yet; run the ecg-cluster command that makes it once more")
        self.names = read_names(self.folder)
        self.values = load_npy(self.folder / VALUES, mapped=True)
        if self.values.ndim < 2 or len(self.values) != len(self.names):
            raise ConfigError(
                f"{self.folder / VALUES} is of shape {list(self.values.shape)}, but {NAMES} has {len(self.names)} "
                f"lines; make the folder again with ecg-cluster"
            )

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


def read_settings(folder: Path) -> dict[str, Any]:
    """How the rows of `folder` were made. Raises: ConfigError when the file is damaged."""
    found = read_json(folder / SETTINGS)
    if not isinstance(found, dict):
        raise ConfigError(f"{folder / SETTINGS} holds no settings; delete {folder} and make it again with ecg-cluster")
    return found


def read_names(folder: Path) -> list[str]:
    """The file name of every row of `folder`. Raises: ConfigError when the list is missing or damaged."""
    path = folder / NAMES
    try:
        return regular_file(path).read_bytes().decode("utf-8").split("\n")[:-1]
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is damaged ({error}); delete {folder} and make it again with ecg-cluster") from None
