"""Two augmented views of every segment, for SimCLR."""

from collections.abc import Sequence
from typing import Any

import torch

from ecg_signals.data.collation import split_views
from ecg_signals.data.datasets.ecg_file import EcgFileConfig, EcgFileDataset
from ecg_signals.registry import register_dataset

VIEWS = 2


@register_dataset("perturbed_views", dataclass=EcgFileConfig)
class PerturbedViewsDataset(EcgFileDataset):
    """One item per manifest row: {"id", "source": two views [leads, samples]}, augmented independently in training.

    In a batch, rows 2i and 2i + 1 are the views of item i.
    """

    def __getitem__(self, index: int) -> dict[str, Any]:
        stored = self.read(self.manifest.addresses(index)[0])
        views = [self.signals(stored, index, stream) for stream in range(VIEWS)]
        return {"id": index, **{key: [view[key] for view in views] for key in views[0]}}

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        if not items:
            return {}
        views = split_views(items)
        return {"id": torch.tensor([view["id"] for view in views]), **self.collate_sources(views)}
