"""Two augmented views of every segment, for SimCLR."""

from collections.abc import Sequence
from typing import Any

from ecg_signals.data.datasets.ecg_file import EcgFileConfig, EcgFileDataset
from ecg_signals.data.segment import Segment
from ecg_signals.registry import register_dataset

VIEWS = 2


@register_dataset("perturbed_views", dataclass=EcgFileConfig)
class PerturbedViewsDataset(EcgFileDataset):
    """One item per manifest row: {"id", "source": two views [leads, samples]}, augmented independently in training.

    In a batch, rows 2i and 2i + 1 are the views of item i.
    """

    several = True

    def views(self, segments: Sequence[Segment], index: int) -> list[dict[str, Any]]:
        return [self.view(segments[0], index, stream) for stream in range(VIEWS)]

    def facts(self, segments: Sequence[Segment], index: int) -> dict[str, Any]:
        return {}
