"""Whom a segment belongs to, for datasets whose batches compare people."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ecg_signals.config import ConfigError, option
from ecg_signals.data.datasets.ecg_file import EcgFileConfig, EcgFileDataset
from ecg_signals.data.segment import Segment, owner_of


@dataclass
class PatientsConfig(EcgFileConfig):
    pair_by: str | None = option(
        None,
        "who counts as the same: patient, or record as published; None: patient when files hold patient_id",
        choices=("patient", "record"),
        ours=True,
    )


class PatientsDataset(EcgFileDataset):
    """Items also hold `patient_id`, the number of a person; negative where unknown, so that it equals no other's."""

    cfg: PatientsConfig

    def facts(self, segments: Sequence[Segment], index: int) -> dict[str, Any]:
        return {"patient_id": self._patient(segments[0], index)}

    def _patient(self, segment: Segment, index: int) -> int:
        if (self.cfg.pair_by or ("patient" if self.first.names_patient else "record")) == "record":
            number = segment.idx if segment.idx is not None else segment.patient
            return index if number is None else number
        if not segment.names_patient:
            raise ConfigError(
                f"{segment.path} holds no patient_id, which dataset.pair_by=patient needs; set dataset.pair_by=record, "
                f"or preprocess a source that names its patients"
            )
        return owner_of(segment, index)
