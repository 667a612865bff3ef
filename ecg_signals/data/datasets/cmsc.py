"""Pairs of segments of one record, for contrastive multi-segment coding (CMSC)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ecg_signals.config import ConfigError, option
from ecg_signals.data.collation import split_views
from ecg_signals.data.datasets.ecg_file import EcgFileConfig, EcgFileDataset
from ecg_signals.data.signal_file import SignalFile
from ecg_signals.registry import register_dataset


@dataclass
class CmscConfig(EcgFileConfig):
    pair_by: str | None = option(
        None,
        "who counts as the same: patient, or record as published; None: patient when files hold patient_id",
        choices=("patient", "record"),
        ours=True,
    )


@register_dataset("cmsc", dataclass=CmscConfig)
class CmscDataset(EcgFileDataset):
    """One item per row of a cmsc manifest: its segments, each augmented on its own.

    item: {"id", "source": list of [leads, samples], "patient_id", "segment": position modulo 2 of each}. A batch of n
    rows holds all their segments in row order; `id`, `patient_id` and `segment` have one number for each of them.

    Source: Kiyasseh et al. 2021, CLOCS, arXiv:2005.13249; Oh et al. 2022, arXiv:2203.06889.
    """

    kind = "cmsc"
    cfg: CmscConfig

    def __init__(self, cfg: CmscConfig, path: str | Path, *, training: bool = False, seed: int = 1) -> None:
        super().__init__(cfg, path, training=training, seed=seed)
        self.pair_by = cfg.pair_by or ("patient" if self.first.has_patient else "record")

    def __getitem__(self, index: int) -> dict[str, Any]:
        stored = [self.read(address) for address in self.manifest.addresses(index)]
        views = [self.signals(file, index, stream) for stream, file in enumerate(stored)]
        item = {key: [view[key] for view in views] for key in views[0]}
        return {
            "id": index,
            **item,
            "patient_id": self.patient(stored[0], index),
            "segment": [number % 2 for number in range(len(stored))],
        }

    def patient(self, stored: SignalFile, index: int) -> int:
        """Whom the segments belong to. An unknown patient is negative, so that it equals no other's number."""
        if self.pair_by == "record":
            number = stored.idx if stored.idx is not None else stored.patient_id
            return index if number is None else number
        if not stored.has_patient:
            raise ConfigError(
                f"{stored.path} holds no patient_id, which dataset.pair_by=patient needs; set dataset.pair_by=record, "
                f"or preprocess a source that names its patients"
            )
        if stored.patient_id is None:
            return -1 - (index if stored.idx is None else stored.idx)
        return stored.patient_id

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        if not items:
            return {}
        views = split_views(items)
        batch = {key: torch.tensor([view[key] for view in views]) for key in ("id", "patient_id", "segment")}
        return {**batch, **self.collate_sources(views)}
