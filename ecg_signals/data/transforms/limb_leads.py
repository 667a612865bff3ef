"""The four limb leads that follow from I and II."""

from collections.abc import Sequence

import numpy as np

LEAD_I, LEAD_II, III, AVR, AVL, AVF = range(6)  # rows in the standard order
COMBINATIONS = {III: (-1.0, 1.0), AVR: (-0.5, -0.5), AVL: (1.0, -0.5), AVF: (-0.5, 1.0)}  # weights of I and II


def recompute_limb_leads(signal: np.ndarray, leads: Sequence[int] | None) -> np.ndarray:
    """III, aVR, aVL and aVF from I and II, in place; without both I and II nothing changes.

    Args:
        signal: [leads, samples], any unit.
        leads: number of each row in the order I II III aVR aVL aVF V1-V6; None changes nothing.
    Returns: `signal`.
    """
    row = {lead: number for number, lead in enumerate(leads or ())}
    if LEAD_I in row and LEAD_II in row:
        first, second = signal[row[LEAD_I]], signal[row[LEAD_II]]
        for lead, (of_first, of_second) in COMBINATIONS.items():
            if lead in row:
                signal[row[lead]] = of_first * first + of_second * second
    return signal
