"""The input contract that travels with a model: the steps from a raw record to `source`."""

from dataclasses import asdict, dataclass, field
from typing import Any

from ecg_signals.signal.leads import LEADS


@dataclass
class SignalContract:
    """What a model was trained on.

    Attributes:
        sample_rate: Hz of the prepared windows.
        leads: ordered lead names.
        window_samples: samples per window at `sample_rate`.
        steps: names and options of the processing steps, in order.
        stride_samples: distance of two windows; None: `window_samples` (no overlap).
        zero_missing_leads: True for models trained with lead masking: a missing lead is zero, else an error.
        aggregate: how windows become one record: "mean", or {label: "max"} for the labels that differ.
    """

    sample_rate: float = 500.0
    leads: list[str] = field(default_factory=lambda: list(LEADS))
    window_samples: int = 2500
    steps: list[dict[str, Any]] = field(default_factory=list)
    stride_samples: int | None = None
    zero_missing_leads: bool = False
    aggregate: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "SignalContract":
        return cls(**values)
