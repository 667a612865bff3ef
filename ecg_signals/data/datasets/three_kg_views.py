"""Two spatially turned, stretched and blanked views of every segment, for 3KG."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ecg_signals.config import ConfigError, option
from ecg_signals.data.collation import split_views
from ecg_signals.data.datasets.cmsc import CmscConfig, CmscDataset
from ecg_signals.data.transforms.three_kg import LEADS, three_kg_views
from ecg_signals.registry import register_dataset

OPTIONS = {"angle": 45.0, "scale": 1.5, "mask_ratio": 0.5}


@dataclass
class ThreeKgViewsConfig(CmscConfig):
    inferred_3kg_config: dict[str, Any] | None = option(
        None,
        "angle (degrees), scale and mask_ratio (share of a lead) of the views; 0 switches one off; None: 45, 1.5, 0.5",
        section="task",
    )


@register_dataset("three_kg_views", dataclass=ThreeKgViewsConfig)
class ThreeKgViewsDataset(CmscDataset):
    """One item per manifest row: {"id", "source": two views [leads, samples], "patient_id"}, in validation as well.

    Views are made of all 12 leads; lead selection and other augmentations follow. In a batch, rows 2i and 2i + 1 are
    the views of item i.
    """

    kind = "plain"
    cfg: ThreeKgViewsConfig

    def __init__(self, cfg: ThreeKgViewsConfig, *arguments: Any, **others: Any) -> None:
        super().__init__(cfg, *arguments, **others)
        given = cfg.inferred_3kg_config or {}
        if not set(given) <= set(OPTIONS):
            raise ConfigError(f"task.inferred_3kg_config is {given}; it may hold {', '.join(OPTIONS)}")
        self.view_options = {
            key: float(given.get(key) or 0) if key in given else usual for key, usual in OPTIONS.items()
        }

    def __getitem__(self, index: int) -> dict[str, Any]:
        stored = self.read(self.manifest.addresses(index)[0])
        whole = self.prepared(stored, None)
        if len(whole) != LEADS:
            raise ConfigError(
                f"{stored.path} holds {len(whole)} leads; 3KG turns the heart's axis in space and needs all 12 "
                f"standard leads. Preprocess the records with every lead"
            )
        views = []
        for stream, view in enumerate(three_kg_views(whole, self.rng(index), **self.view_options)):
            leads = self.leads_of(stored, index, stream)
            views.append(self.augmented(view if leads is None else view[list(leads)], leads, index, 1 + stream))
        columns = {key: [view[key] for view in views] for key in views[0]}
        return {"id": index, **columns, "patient_id": self.patient(stored, index)}

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        if not items:
            return {}
        views = split_views(items)
        batch = {key: torch.tensor([view[key] for view in views]) for key in ("id", "patient_id")}
        return {**batch, **self.collate_sources(views)}
