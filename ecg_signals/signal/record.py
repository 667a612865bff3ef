"""One recording as stored: leads x samples in mV."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Record:
    """What `read_record` returns.

    Attributes:
        signal: [leads, samples], mV, NaN where the file has no value; float32 unless float64 was asked for.
        sample_rate: Hz.
        leads: one name per row of `signal`.
        comments: free text lines of the file.
        metadata: what else the file says (age, sex, labels ...), by name; nothing of it names a person.
        format: registered name of the reader that read it.
        start: when it was recorded, as ISO 8601 text; None where the file does not say it.
        filters: of the recorder, as stored: `highpass`, `lowpass`, `notch`, mostly in Hz.
        derived: leads that are not stored but computed from two limb leads.
        patient: names, ids and birth date; empty unless `personal=True` was asked for.
        measurements: the recorder's own, as stored, by the file's name for them.
        statements: the recorder's own interpretation, as stored.
        annotations: (start in seconds, duration in seconds, text) of each mark in the file.
    """

    signal: np.ndarray
    sample_rate: float
    leads: list[str]
    comments: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    format: str = ""
    start: str | None = None
    filters: dict[str, str] = field(default_factory=dict)
    derived: list[str] = field(default_factory=list)
    patient: dict[str, str] = field(default_factory=dict)
    measurements: dict[str, str] = field(default_factory=dict)
    statements: list[str] = field(default_factory=list)
    annotations: list[tuple[float, float, str]] = field(default_factory=list)
