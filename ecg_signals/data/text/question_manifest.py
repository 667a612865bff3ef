"""Manifests of ECG-QA: line 1 the root, then path, samples, samples of a second ECG if there is one, tokens."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from ecg_signals.config import ConfigError, resolve_input
from ecg_signals.limits import read_regular

MOST_BYTES = 1 << 30


class QuestionManifest(NamedTuple):
    """Its rows: files, samples of the shorter ECG and tokens [rows]."""

    root: Path
    files: list[str]
    samples: np.ndarray
    tokens: np.ndarray


def read_question_manifest(path: Path, min_samples: int | None = None) -> QuestionManifest:
    """The rows whose ECGs have `min_samples` or more.

    Raises: ConfigError naming the file and the line that is no row.
    """
    try:
        root, *lines = read_regular(path, MOST_BYTES).decode().splitlines() or [""]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); make it with `ecg-preprocess ecgqa`") from None
    rows = []
    for number, line in enumerate(lines, 2):
        name, *sizes = line.rstrip("\r").split("\t")
        if len(sizes) not in (2, 3) or not all(size.isdecimal() for size in sizes):
            raise ConfigError(
                f"{path}, line {number}: {line[:100]!r} is no row of path, samples (of one ECG or two) and tokens; "
                f"make it with `ecg-preprocess ecgqa`"
            )
        rows.append((name, min(map(int, sizes[:-1])), int(sizes[-1])))
    if not rows:
        raise ConfigError(f"{path} has no rows; make it with `ecg-preprocess ecgqa`")
    rows = [row for row in rows if row[1] >= (min_samples or 0)]
    if not rows:
        raise ConfigError(f"{path}: all rows are shorter than task.min_sample_size={min_samples}; set a smaller one")
    files, samples, tokens = zip(*rows)
    return QuestionManifest(_folder(path, root.strip()), list(files), np.array(samples), np.array(tokens))


def _folder(path: Path, root: str) -> Path:
    """The root as it stands, or, where it is not there, relative to the manifest."""
    found = resolve_input(root)
    beside = path.parent / Path(root).name
    if not found.is_dir() and beside.is_dir():
        return beside
    if not found.is_dir():
        raise ConfigError(
            f"{path}, line 1: the root {root!r} is not a folder here; write the folder of its files there"
        )
    return found
