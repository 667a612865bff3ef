"""Two spatially turned, stretched and blanked views of every segment, for 3KG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecg_signals.config import ConfigError, option
from ecg_signals.data.patients import PatientsConfig, PatientsDataset
from ecg_signals.data.segment import Segment
from ecg_signals.data.transforms.three_kg import three_kg_views
from ecg_signals.registry import register_dataset
from ecg_signals.signal.leads import LEADS

OPTIONS = {"angle": (45.0, 0.0, 180.0), "scale": (1.5, 1.0, math.inf), "mask_ratio": (0.5, 0.0, 1.0)}  # and its range


@dataclass
class ThreeKgViewsConfig(PatientsConfig):
    inferred_3kg_config: dict[str, Any] | None = option(
        None,
        "angle (degrees), scale and mask_ratio (share of a lead) of the views; 0 switches one off; None: 45, 1.5, 0.5",
        section="task",
    )


def _number(key: str, given: Any) -> float:
    """Raises: ConfigError for what is no number in the option's range; 0 and None switch it off."""
    _, least, most = OPTIONS[key]
    try:
        value = float(given or 0)
    except (TypeError, ValueError):
        value = math.nan
    if value and not least <= value <= most:
        limits = f"{least:g} or more" if math.isinf(most) else f"{least:g} to {most:g}"
        raise ConfigError(f"task.inferred_3kg_config has {key}={given}; set it to {limits}, or 0 to switch it off")
    return value


@register_dataset("three_kg_views", dataclass=ThreeKgViewsConfig)
class ThreeKgViewsDataset(PatientsDataset):
    """One item per manifest row: {"id", "source": two views [leads, samples], "patient_id"}, in validation as well.

    Views are made of all 12 leads; lead selection and other augmentations follow. In a batch, rows 2i and 2i + 1 are
    the views of item i.
    """

    several = True
    cfg: ThreeKgViewsConfig

    def __init__(self, cfg: ThreeKgViewsConfig, path: str | Path, *, training: bool = False, seed: int = 1) -> None:
        super().__init__(cfg, path, training=training, seed=seed)
        given = cfg.inferred_3kg_config or {}
        if not set(given) <= set(OPTIONS):
            raise ConfigError(f"task.inferred_3kg_config is {given}; it may hold {', '.join(OPTIONS)}")
        self.view_options = {
            key: _number(key, given[key]) if key in given else usual for key, (usual, *_) in OPTIONS.items()
        }

    def views(self, segments: Sequence[Segment], index: int) -> list[dict[str, Any]]:
        whole = self.preparation(segments[0], None)
        if len(whole) != len(LEADS):
            raise ConfigError(
                f"{segments[0].path} holds {len(whole)} leads; 3KG turns the heart's axis in space and needs all 12 "
                f"standard leads. Preprocess the records with every lead"
            )
        views = []
        for stream, view in enumerate(three_kg_views(whole, self.rng(index), **self.view_options)):
            leads = self.leads_of(segments[0], index, stream)
            views.append(self.augmented(view if leads is None else view[list(leads)], leads, index, 1 + stream))
        return views
