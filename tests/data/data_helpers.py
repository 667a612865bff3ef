"""Small stored signals and manifests."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from ecg_signals.data.datasets.base import BaseDataset
from ecg_signals.registry import get_entry

SAMPLES, RATE = 120, 500


def write_mat(path: Path, feats: np.ndarray, **others: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"feats": feats, "curr_sample_rate": RATE, **others})
    return path


def make_dataset(name: str, path: Path, *, training: bool = False, seed: int = 1, **options: Any) -> BaseDataset:
    entry = get_entry("dataset", name)
    cfg = entry.dataclass.from_mapping({"_name": name, **options}, where="dataset")
    return entry.cls(cfg, path, training=training, seed=seed)


@pytest.fixture
def segments(tmp_path: Path) -> Callable[..., Path]:
    """Writes records of two segments each and their plain, cmsc and identification manifests; returns the folder."""

    def make(records: int = 3, lengths: Sequence[int] | None = None, dtype: Any = np.float32, **others: Any) -> Path:
        rng = np.random.default_rng(5)
        lengths = lengths or [SAMPLES] * records
        plain, pairs, people = [], [], []
        for record, samples in enumerate(lengths):
            for segment in range(2):
                name = f"r{record}_{segment}.mat"
                feats = rng.standard_normal((12, samples)).astype(dtype)
                own = {key: value(record) if callable(value) else value for key, value in others.items()}
                write_mat(tmp_path / "segmented" / name, feats, idx=record, **own)
                plain.append(f"{name}\t{samples}")
                people.append(f"{name}\t{samples}\t{record % 2}")
            pairs.append(f"r{record}\t{samples}\t0\t0,1")
        root = f"{tmp_path / 'segmented'}\n"
        (tmp_path / "plain.tsv").write_text(root + "\n".join(plain) + "\n")
        (tmp_path / "pairs.tsv").write_text(root + "mat\n" + "\n".join(pairs) + "\n")
        (tmp_path / "people.tsv").write_text(root + "\n".join(people) + "\n")
        return tmp_path

    return make
