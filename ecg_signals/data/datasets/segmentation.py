"""Signals with a class for every sample: which wave it is of."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from ecg_signals.config import ConfigError
from ecg_signals.data.datasets.ecg_file import EcgFileConfig, EcgFileDataset
from ecg_signals.data.input_contract import contract_of_segments
from ecg_signals.data.preparation import Preparation
from ecg_signals.data.segment import Segment
from ecg_signals.registry import register_dataset
from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.standardise import jointly_standardised

LAYER_NORM = 1e-5  # what layer norms add to the variance
ANY_LEAD = "II"  # of the input contract of a model that takes any lead alone


@register_dataset("segmentation", dataclass=EcgFileConfig)
class SegmentationDataset(EcgFileDataset):
    """One item per manifest row. Batches also hold `segment_label` [batch, samples], classes, and `segment_mask`, True
    where nothing was marked, and in padding. Files hold both, as `ecg-preprocess ludb` writes them; in one without
    `segment_mask` all is marked.

    `task.normalize` is a layer norm over all leads of an item together, without mean_path and std_path. The files'
    `label` is left out unless `labelled`, which a task with labels sets.

    Attributes:
        classes: how many there can be; None: any number.
    """

    tracks: ClassVar[tuple[str, ...]] = ("segment_label", "segment_mask")
    optional_tracks: ClassVar[tuple[str, ...]] = ("segment_mask",)
    labelled = False
    classes: int | None = None

    def __init__(self, cfg: EcgFileConfig, path: str | Path, *, training: bool = False, seed: int = 1) -> None:
        super().__init__(cfg, path, training=training, seed=seed)
        if self.cutting is not None:
            raise ConfigError(
                "dataset.window_stride and window_count cut items for one answer each, but here every sample has one; "
                "leave them out"
            )

    def make_preparation(self) -> Preparation:
        options = copy.copy(self.cfg)
        options.normalize = False
        return Preparation(self.sample_rate, options)

    def prepared(self, segment: Segment, leads: Sequence[int] | None, index: int, stream: int) -> np.ndarray:
        signal = super().prepared(segment, leads, index, stream)
        return jointly_standardised(signal, LAYER_NORM).astype(np.float32) if self.cfg.normalize else signal

    def facts(self, segments: Sequence[Segment], index: int) -> dict[str, Any]:
        marks = segments[0].tracks["segment_label"]
        if self.classes is not None and not marks.max(initial=0) < self.classes:
            raise ConfigError(
                f"{segments[0].path} marks samples as class {marks.max():g} in segment_label, but model.label_idx has "
                f"{self.classes} classes, 0 to {self.classes - 1}; set model.label_idx to those of the files"
            )
        return super().facts(segments, index)

    def label(self, segment: Segment) -> Tensor | None:
        return super().label(segment) if self.labelled or self.label_file is not None else None

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        batch = super().collate(items)
        if not batch:
            return batch
        label, mask = (batch["tracks"][name].flatten(1) for name in self.tracks)
        padding = batch["net_input"].get("padding_mask")
        mask = mask.bool() if padding is None else mask.bool() | padding[:, 0]
        return {**batch, "segment_label": label.long(), "segment_mask": mask}

    def input_contract(self) -> SignalContract | None:
        """Of items with one lead that of any lead alone, named after lead II."""
        alone = len(self.first.signal) == 1 and self.selection.every_row
        contract = contract_of_segments(self, [ANY_LEAD] if alone else LEADS)
        if contract is None or not self.cfg.normalize:
            return contract
        steps = [step for step in contract.steps if step["name"] != "window"]
        joint = {"name": "standardise", "jointly": True, "variance_eps": LAYER_NORM}
        return replace(contract, steps=[*steps, {"name": "window"}, joint])
