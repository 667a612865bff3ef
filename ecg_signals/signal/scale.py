"""Telling from the values of a batch whether it was scaled as in training."""

from collections.abc import Sequence

import numpy as np

from ecg_signals.signal.steps.base import Step


def scale_problem(source: np.ndarray, steps: Sequence[Step | str]) -> str | None:
    """What is wrong with the values of a batch, None if nothing is visible.

    Looks at what is typical of the batch: flat leads, zero padding and gaps are passed over, and one odd lead or record
    does not count. Thresholds lie between prepared and raw values of 159 PTB-XL and Challenge records.

    Args:
        source: [batch, leads, samples]; mV, z-scores or whatever else: what it is, is the question.
        steps: of the contract; the last one that scales says what to expect.
    """
    found = next((step for step in reversed(steps) if isinstance(step, Step) and step.values), None)
    values = source.astype(np.float64)
    records = [[lead[(lead != 0) & np.isfinite(lead)] for lead in record] for record in values]
    records = [[lead for lead in record if len(lead) > 1 and lead.min() < lead.max()] for record in records]
    records = [record for record in records if record]
    return found.problem(records) if found is not None and records else None
