"""Segments with the number of the person they belong to."""

from collections.abc import Sequence
from typing import Any

import torch

from ecg_signals.data.manifest import Manifest
from ecg_signals.data.patients import PatientsConfig, PatientsDataset
from ecg_signals.data.segment import Segment
from ecg_signals.registry import register_dataset


@register_dataset("identification", dataclass=PatientsConfig)
class IdentificationDataset(PatientsDataset):
    """One item per row of an identification manifest: {"id", "source", "label": class, "patient_id"}.

    In a batch, `label` and `patient_id` are int64 [batch].
    """

    kind = "identification"
    manifest: Manifest

    def facts(self, segments: Sequence[Segment], index: int) -> dict[str, Any]:
        return {"label": torch.tensor(self.manifest.label(index)), **super().facts(segments, index)}

    @property
    def num_labels(self) -> int:
        return 1 + self.manifest.last_label
