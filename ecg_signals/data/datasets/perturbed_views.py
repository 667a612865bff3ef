"""Two augmented views of every segment, for SimCLR and its kind; for SwAV also shorter ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ecg_signals.config import ConfigError, option
from ecg_signals.data.datasets.base import CROP
from ecg_signals.data.datasets.ecg_file import EcgFileConfig, EcgFileDataset
from ecg_signals.data.segment import Segment
from ecg_signals.registry import register_dataset

VIEWS = 2


@dataclass
class PerturbedViewsConfig(EcgFileConfig):
    small_views: int = option(0, "further, shorter views of an item, for criterion swav", least=0, ours=True)
    small_samples: int = option(100, "their samples, cut out anywhere", least=1, ours=True)


@register_dataset("perturbed_views", dataclass=PerturbedViewsConfig)
class PerturbedViewsDataset(EcgFileDataset):
    """One item per manifest row: {"id", "source": two views [leads, samples]}, augmented independently in training.

    In a batch, rows 2i and 2i + 1 are the views of item i. With `small_views`, `small` [items, small_views, leads,
    small_samples] are stretches of further ones.
    """

    several = True
    cfg: PerturbedViewsConfig

    def views(self, segments: Sequence[Segment], index: int) -> list[dict[str, Any]]:
        return [self.view(segments[0], index, stream) for stream in range(VIEWS)]

    def facts(self, segments: Sequence[Segment], index: int) -> dict[str, Any]:
        streams = range(VIEWS, VIEWS + self.cfg.small_views)
        return {"small": torch.stack([self.small(segments[0], index, stream) for stream in streams])} if streams else {}

    def small(self, segment: Segment, index: int, stream: int) -> Tensor:
        """[leads, small_samples]"""
        source, samples = self.view(segment, index, stream)["source"], self.cfg.small_samples
        surplus = source.shape[-1] - samples
        if surplus < 0:
            raise ConfigError(f"{segment.path} is shorter than dataset.small_samples={samples}; set that to less")
        first = int(self.rng(index, CROP + stream).integers(surplus + 1))
        return source[:, first : first + samples]

    def columns(self, views: Sequence[dict[str, Any]]) -> dict[str, Any]:
        columns = super().columns(views)
        return {**columns, "small": columns["small"][::VIEWS]} if "small" in columns else columns
