"""Hum of the power line."""

from collections.abc import Sequence

import numpy as np

from ecg_signals.data.transforms.limb_leads import recompute_limb_leads
from ecg_signals.data.transforms.rng import Rng


def powerline_noise(
    signal: np.ndarray,
    rng: Rng,
    *,
    sample_rate: float,
    max_amplitude: float = 0.5,
    min_amplitude: float = 0.0,
    p: float = 1.0,
    leads: Sequence[int] | None = None,
) -> np.ndarray:
    """With probability `p`, add one 50 or 60 Hz cosine of random amplitude and phase to all leads.

    Args:
        signal: [leads, samples], left unchanged.
        sample_rate: Hz.
        leads: row numbers in the standard order, to recompute III, aVR, aVL, aVF from I and II; None leaves them.
    Returns: float32 [leads, samples].
    """
    if p <= rng.uniform():
        return signal
    amplitude = rng.uniform(min_amplitude, max_amplitude, size=(1, 1))
    frequency = 50.0 if rng.uniform() > 0.5 else 60.0
    phase = rng.uniform(0.0, 2 * np.pi)
    noisy = add_powerline(signal, amplitude, frequency, phase, sample_rate)
    return recompute_limb_leads(noisy, leads)


def add_powerline(
    signal: np.ndarray, amplitude: np.ndarray | float, frequency: float, phase: float, sample_rate: float
) -> np.ndarray:
    """signal + amplitude cos(2 pi frequency t / sample_rate + phase), float32."""
    angle = 2 * np.pi * frequency * np.arange(signal.shape[-1]) / sample_rate + phase
    return (signal + amplitude * np.cos(angle)).astype(np.float32)
