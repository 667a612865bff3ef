"""Segments with the number of the person they belong to."""

from collections.abc import Sequence
from typing import Any

import torch

from ecg_signals.data.datasets.ecg_file import EcgFileDataset
from ecg_signals.data.manifest import Manifest
from ecg_signals.data.patients import PatientsConfig, patient_of
from ecg_signals.data.segment import Segment
from ecg_signals.registry import register_dataset


@register_dataset("identification", dataclass=PatientsConfig)
class IdentificationDataset(EcgFileDataset):
    """One item per row of an identification manifest: {"id", "source", "label": class, "patient_id"}.

    In a batch, `label` and `patient_id` are int64 [batch].
    """

    kind = "identification"
    cfg: PatientsConfig
    manifest: Manifest

    def facts(self, segments: Sequence[Segment], index: int) -> dict[str, Any]:
        label = torch.tensor(self.manifest.label(index))
        return {"label": label, "patient_id": patient_of(segments[0], index, self.cfg.pair_by, self.first)}

    @property
    def num_labels(self) -> int:
        return 1 + max(self.manifest.label(index) for index in range(len(self)))
