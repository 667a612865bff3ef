"""Small .mat files that point to the record to load, and say which leads of it and which labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ecg_signals.config import ConfigError, option
from ecg_signals.data.collation import SIGNALS, stacked_columns
from ecg_signals.data.datasets.ecg_file import EcgFileConfig, EcgFileDataset
from ecg_signals.data.segment import Segment, SegmentSource
from ecg_signals.data.sources.pointers import PointerSource
from ecg_signals.registry import register_dataset


@dataclass
class EcgPathConfig(EcgFileConfig):
    load_specific_lead: bool = option(
        False, "take the leads that each file names instead of leads_to_load", section="task"
    )


@register_dataset("ecg_path", dataclass=EcgPathConfig)
class EcgPathDataset(EcgFileDataset):
    """One item per manifest row: {"id", "source" [leads, samples], mV, "label"} and what else its file says.

    When files name the labels they hold (`target_idx`), `label` and `target_idx` of a batch are lists of tensors, one
    for each item; `attribute_id` always is.
    """

    cfg: EcgPathConfig

    def open_source(self) -> SegmentSource:
        return PointerSource(self.manifest.root)

    def facts(self, segments: Sequence[Segment], index: int) -> dict[str, Any]:
        (segment,) = segments
        label = self.label(segment)
        facts = {} if label is None else {"label": label}
        asked = {key: segment.facts[key] for key in ("target_idx", "attribute_id") if key in segment.facts}
        return facts | {key: torch.from_numpy(value) for key, value in asked.items()}

    def label(self, segment: Segment) -> Tensor | None:
        asked = segment.facts.get("target_idx")
        if asked is None:
            return super().label(segment)
        if segment.label is None or len(segment.label) != len(asked):
            found = "no label" if segment.label is None else f"{len(segment.label)} labels"
            raise ConfigError(f"{segment.path} holds {found} for {len(asked)} entries of target_idx; expected one each")
        return torch.from_numpy(segment.label.astype("float32"))

    @property
    def num_labels(self) -> int | None:
        return None if "target_idx" in self.first.facts else super().num_labels

    def select_labels(self, columns: Sequence[int]) -> None:
        if self.num_labels is None:
            raise ConfigError(
                f"the files of {self.path} number their labels (target_idx) in another order than the model's; make "
                f"them, and label_def.csv, in the model's order"
            )
        super().select_labels(columns)

    def leads_of(self, segment: Segment, index: int, stream: int = 0) -> Sequence[int] | None:
        if self.cfg.load_specific_lead and "lead" in segment.facts:
            return segment.facts["lead"].tolist()
        return super().leads_of(segment, index, stream)

    def columns(self, views: Sequence[dict[str, Any]]) -> dict[str, Any]:
        if len({len(view["source"]) for view in views}) > 1:
            raise ConfigError(
                "items of one batch have different numbers of leads (task.load_specific_lead=true); set "
                "task.enable_padding_leads=true"
            )
        listed = ["attribute_id", *(("label", "target_idx") if "target_idx" in views[0] else ())]
        lists = {key: [view[key] for view in views] for key in listed if key in views[0]}
        return stacked_columns(views, without=(*SIGNALS, *listed)) | lists
