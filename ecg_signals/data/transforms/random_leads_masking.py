"""Random lead masking: whole leads become zero."""

from collections.abc import Sequence

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.data.transforms.rng import Rng, integers

LIMB_LEADS = 6  # of twelve; the others are V1-V6


def random_leads_masking(signal: np.ndarray, rng: Rng, *, prob: float, p: float = 1.0) -> np.ndarray:
    """Zero each lead with probability `prob`, independently, with probability `p` at all.

    Args:
        signal: [leads, samples], left unchanged.
        prob: chance of losing a lead, 0 to 1; 0.5 in the paper.
    Returns: float32 [leads, samples]. No lead is guaranteed to survive.
    Source: Oh et al. 2022, Lead-agnostic Self-supervised Learning, arXiv:2203.06889.
    """
    if p < rng.uniform():
        return signal
    return keep_leads(signal, rng.uniform(size=len(signal)) >= prob)


def conditional_leads_masking(
    signal: np.ndarray, rng: Rng, *, counts: Sequence[int], leads: Sequence[int], p: float = 1.0
) -> np.ndarray:
    """Zero `counts[0]` of the limb leads and `counts[1]` of the chest leads, drawn without replacement.

    Where a selection holds fewer leads of a kind than that, all of them go.

    Args:
        signal: [leads, samples], left unchanged.
        leads: number of each row in the order I II III aVR aVL aVF V1-V6.
    """
    if p < rng.uniform():
        return signal
    kept = np.ones(len(signal), dtype=bool)
    for chest, count in zip((False, True), counts, strict=True):
        rows = [row for row, lead in enumerate(leads) if (lead >= LIMB_LEADS) is chest]
        for _ in range(min(count, len(rows))):
            kept[rows.pop(int(integers(rng, len(rows))))] = False
    return keep_leads(signal, kept)


def keep_leads(signal: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """`signal` [leads, samples] with zeros where `kept` [leads] is False."""
    masked = signal.astype(np.float32)
    masked[~kept] = 0
    return masked


def check_condition(counts: Sequence[int]) -> tuple[int, int]:
    """The two counts of `mask_leads_condition`. Raises: ConfigError for anything but two numbers from 0 to 6."""
    if len(counts) != 2 or not all(0 <= count <= LIMB_LEADS for count in counts):
        raise ConfigError(
            f"mask_leads_condition is {tuple(counts)}; expected how many of the six limb and of the six chest leads "
            f"to mask, such as task.mask_leads_condition=[4,5]"
        )
    return counts[0], counts[1]
