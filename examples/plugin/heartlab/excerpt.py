"""Segments cut to a shorter excerpt: somewhere at random in training, in the middle otherwise."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ecg_signals.config import option
from ecg_signals.data.datasets.ecg_file import EcgFileConfig, EcgFileDataset
from ecg_signals.registry import register_dataset

EXCERPT = 1 << 20  # random stream of the excerpt's start; smaller numbers belong to augmentations


@dataclass
class ExcerptConfig(EcgFileConfig):
    excerpt_samples: int = option(1250, "samples of an item; a shorter file is taken whole")


@register_dataset("excerpt", dataclass=ExcerptConfig)
class ExcerptDataset(EcgFileDataset):
    cfg: ExcerptConfig

    @property
    def sizes(self) -> np.ndarray:
        return np.minimum(self.manifest.samples, self.cfg.excerpt_samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """ecg_file's item with `source` [leads, excerpt_samples]; the start depends on (seed, epoch, index) alone."""
        item = super().__getitem__(index)
        surplus = max(0, item["source"].shape[1] - self.cfg.excerpt_samples)
        start = int(self.rng(index, EXCERPT).integers(surplus + 1)) if self.training else surplus // 2
        cut = slice(start, start + self.cfg.excerpt_samples)
        return {**item, **{key: item[key][:, cut] for key in ("source", "original") if key in item}}
