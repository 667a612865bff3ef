"""Noise of the muscles."""

from collections.abc import Sequence

import numpy as np

from ecg_signals.data.transforms.limb_leads import recompute_limb_leads
from ecg_signals.data.transforms.rng import Rng


def emg_noise(
    signal: np.ndarray,
    rng: Rng,
    *,
    max_amplitude: float = 0.5,
    min_amplitude: float = 0.0,
    p: float = 1.0,
    leads: Sequence[int] | None = None,
) -> np.ndarray:
    """With probability `p`, add white Gaussian noise with its own standard deviation to every lead.

    Args:
        signal: [leads, samples], left unchanged.
        leads: row numbers in the standard order, to recompute III, aVR, aVL, aVF from I and II; None leaves them.
    Returns: float32 [leads, samples].
    """
    if p <= rng.uniform():
        return signal
    amplitude = rng.uniform(min_amplitude, max_amplitude, size=(len(signal), 1))
    noisy = add_emg(signal, amplitude, rng.normal(0.0, 1.0, size=signal.shape))
    return recompute_limb_leads(noisy, leads)


def add_emg(signal: np.ndarray, amplitude: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """signal + amplitude [leads, 1] x normal [leads, samples], float32."""
    return (signal + amplitude * normal).astype(np.float32)
