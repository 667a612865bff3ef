"""One stored signal, and what reads it by the address that a manifest holds."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(slots=True)
class Segment:
    """One stored signal and what its source says about it.

    Attributes:
        path: where it came from, for messages.
        signal: [leads, samples], any numeric dtype, read-only.
        rate: Hz, None when the source does not say.
        idx: record number, the row of its labels; None when the source does not say.
        patient: None when the source does not say or the patient is unknown.
        label: [labels], None when the source has none.
        names_patient: the source has a place for the patient, known or not.
        tracks: annotations of every sample, [..., samples], by name; they are cropped and padded as the signal is.
        facts: what else the source says, by name.
    """

    path: str
    signal: np.ndarray
    rate: float | None = None
    idx: int | None = None
    patient: int | None = None
    label: np.ndarray | None = None
    names_patient: bool = False
    tracks: Mapping[str, np.ndarray] = field(default_factory=dict)
    facts: Mapping[str, np.ndarray] = field(default_factory=dict)


class SegmentSource(ABC):
    """Reads segments; a dataset has one for all rows of its manifest."""

    @abstractmethod
    def read(self, address: str) -> Segment:
        """The segment at an address, as the manifest holds it.

        Raises: ConfigError naming the file when it is missing, truncated or not of this kind.
        """

    def fetch(self, addresses: Iterable[str]) -> None:
        """Get ready what `read` will be asked for next, the segments of a batch; sources on this machine need not."""
        return


def owner_of(segment: Segment, index: int) -> int:
    """The patient of a segment; where it is not known a negative number of its record, else of the item itself."""
    if segment.patient is not None:
        return segment.patient
    return -1 - (index if segment.idx is None else segment.idx)


def record_of(segment: Segment, index: int) -> int:
    """The record of a segment; a negative number of the item itself where it is not known."""
    return -1 - index if segment.idx is None else segment.idx
