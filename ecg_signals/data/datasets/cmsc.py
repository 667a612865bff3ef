"""Pairs of segments of one record, for contrastive multi-segment coding (CMSC)."""

from collections.abc import Sequence
from typing import Any

from ecg_signals.data.patients import PatientsConfig, PatientsDataset
from ecg_signals.data.segment import Segment
from ecg_signals.registry import register_dataset


@register_dataset("cmsc", dataclass=PatientsConfig)
class CmscDataset(PatientsDataset):
    """One item per row of a cmsc manifest: its segments, each augmented on its own.

    item: {"id", "source": list of [leads, samples], "patient_id", "segment": position modulo 2 of each}. A batch of n
    rows holds all their segments in row order; `id`, `patient_id` and `segment` have one number for each of them.

    Source: Kiyasseh et al. 2021, CLOCS, arXiv:2005.13249; Oh et al. 2022, arXiv:2203.06889.
    """

    kind = "cmsc"
    several = True

    def facts(self, segments: Sequence[Segment], index: int) -> dict[str, Any]:
        positions = [number % 2 for number in range(len(segments))]
        return {**super().facts(segments, index), "segment": positions}
