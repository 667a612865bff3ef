"""Segments with the number of the person they belong to."""

from collections.abc import Sequence
from typing import Any

import torch

from ecg_signals.data.datasets.cmsc import CmscConfig, CmscDataset
from ecg_signals.data.datasets.ecg_file import EcgFileDataset
from ecg_signals.registry import register_dataset


@register_dataset("identification", dataclass=CmscConfig)
class IdentificationDataset(CmscDataset):
    """One item per row of an identification manifest: {"id", "source", "label": class, "patient_id"}.

    In a batch, `label` and `patient_id` are int64 [batch].
    """

    kind = "identification"

    def __getitem__(self, index: int) -> dict[str, Any]:
        stored = self.read(self.manifest.addresses(index)[0])
        label = torch.tensor(self.manifest.label(index))
        return {"id": index, **self.signals(stored, index), "label": label, "patient_id": self.patient(stored, index)}

    @property
    def num_labels(self) -> int:
        return 1 + max(self.manifest.label(index) for index in range(len(self)))

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        batch = EcgFileDataset.collate(self, items)
        return {**batch, "patient_id": torch.tensor([item["patient_id"] for item in items])} if items else batch
