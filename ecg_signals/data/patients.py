"""Whom a segment belongs to, for datasets whose batches compare people."""

from dataclasses import dataclass

from ecg_signals.config import ConfigError, option
from ecg_signals.data.datasets.ecg_file import EcgFileConfig
from ecg_signals.data.segment import Segment, owner_of


@dataclass
class PatientsConfig(EcgFileConfig):
    pair_by: str | None = option(
        None,
        "who counts as the same: patient, or record as published; None: patient when files hold patient_id",
        choices=("patient", "record"),
        ours=True,
    )


def patient_of(segment: Segment, index: int, pair_by: str | None, first: Segment) -> int:
    """The number of the person of item `index`. An unknown patient is negative, so that it equals no other's number.

    Args:
        pair_by: the option of that name.
        first: of the dataset's segments.
    """
    if (pair_by or ("patient" if first.names_patient else "record")) == "record":
        number = segment.idx if segment.idx is not None else segment.patient
        return index if number is None else number
    if not segment.names_patient:
        raise ConfigError(
            f"{segment.path} holds no patient_id, which dataset.pair_by=patient needs; set dataset.pair_by=record, "
            f"or preprocess a source that names its patients"
        )
    return owner_of(segment, index)
