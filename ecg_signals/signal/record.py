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
        metadata: what else the file says (age, sex, labels ...), by name.
    """

    signal: np.ndarray
    sample_rate: float
    leads: list[str]
    comments: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
