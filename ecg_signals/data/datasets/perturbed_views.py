"""Two augmented views of every segment, for SimCLR and its kind; for SwAV also shorter ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ecg_signals.config import ConfigError, option
from ecg_signals.data.datasets.base import CROP
from ecg_signals.data.datasets.ecg_file import EcgFileConfig, EcgFileDataset
from ecg_signals.data.segment import Segment
from ecg_signals.registry import register_dataset

VIEWS = 2
CROPS = ("after", "once", "each")
SMALL = 1 << 15  # the random streams that cut small views, behind CROP


@dataclass
class PerturbedViewsConfig(EcgFileConfig):
    crop_views: str = option(
        "after", "when views are cropped to max_sample_size: after they are augmented, as fairseq-signals has it, or "
        "before, once for an item, as Mehari and Strodthoff 2022 have it, or each view on its own",
        choices=CROPS, ours=True,
    )  # fmt: skip
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

    def __init__(self, cfg: PerturbedViewsConfig, path: str | Path, *, training: bool = False, seed: int = 1) -> None:
        super().__init__(cfg, path, training=training, seed=seed)
        if cfg.crop_views != "after" and cfg.max_sample_size is None:
            raise ConfigError(
                f"dataset.crop_views={cfg.crop_views} needs the length of a crop; set task.max_sample_size to samples"
            )

    def views(self, segments: Sequence[Segment], index: int) -> list[dict[str, Any]]:
        return [self.view(segments[0], index, stream) for stream in range(VIEWS)]

    def prepared(self, segment: Segment, leads: Sequence[int] | None, index: int, stream: int) -> np.ndarray:
        signal = super().prepared(segment, leads, index, stream)
        samples = self.longest or signal.shape[-1]
        if self.cfg.crop_views == "after" or signal.shape[-1] <= samples:
            return signal
        first = self._crop_start({"id": index, "view": stream}, signal.shape[-1] - samples)
        return signal[:, first : first + samples]

    def _crop_start(self, view: dict[str, Any], surplus: int) -> int:
        shared = {"view": 0} if self.cfg.crop_views == "once" else {}
        return super()._crop_start({**view, **shared}, surplus)

    def facts(self, segments: Sequence[Segment], index: int) -> dict[str, Any]:
        streams = range(VIEWS, VIEWS + self.cfg.small_views)
        return {"small": torch.stack([self.small(segments[0], index, stream) for stream in streams])} if streams else {}

    def small(self, segment: Segment, index: int, stream: int) -> Tensor:
        """[leads, small_samples]"""
        source, samples = self.view(segment, index, stream)["source"], self.cfg.small_samples
        surplus = source.shape[-1] - samples
        if surplus < 0:
            raise ConfigError(f"{segment.path} is shorter than dataset.small_samples={samples}; set that to less")
        first = int(self.rng(index, CROP + SMALL + stream).integers(surplus + 1))
        return source[:, first : first + samples]

    def columns(self, views: Sequence[dict[str, Any]]) -> dict[str, Any]:
        columns = super().columns(views)
        return {**columns, "small": columns["small"][::VIEWS]} if "small" in columns else columns
