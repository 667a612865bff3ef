"""Slow drift of the baseline, as from breathing."""

from collections.abc import Sequence

import numpy as np

from ecg_signals.data.transforms.limb_leads import recompute_limb_leads
from ecg_signals.data.transforms.rng import Rng


def baseline_wander(
    signal: np.ndarray,
    rng: Rng,
    *,
    sample_rate: float,
    max_amplitude: float = 0.5,
    min_amplitude: float = 0.0,
    max_freq: float = 0.2,
    min_freq: float = 0.01,
    k: int = 3,
    p: float = 1.0,
    leads: Sequence[int] | None = None,
) -> np.ndarray:
    """With probability `p`, add a sum of `k` slow cosines, scaled differently for every lead.

    Args:
        signal: [leads, samples], left unchanged.
        sample_rate: Hz.
        max_freq, min_freq: Hz.
        leads: row numbers in the standard order, to recompute III, aVR, aVL, aVF from I and II; None leaves them.
    Returns: float32 [leads, samples].
    """
    if p <= rng.uniform():
        return signal
    scale = rng.normal(1.0, 0.5, size=(len(signal), 1))
    amplitudes = rng.uniform(min_amplitude, max_amplitude, size=k)
    waves = [(rng.uniform(min_freq, max_freq), rng.uniform(0.0, 2 * np.pi)) for _ in range(k)]
    frequencies, phases = np.array(waves).reshape(k, 2).T
    drifting = add_wander(signal, scale, amplitudes, frequencies, phases, sample_rate)
    return recompute_limb_leads(drifting, leads)


def add_wander(
    signal: np.ndarray,
    scale: np.ndarray,
    amplitudes: np.ndarray,
    frequencies: np.ndarray,
    phases: np.ndarray,
    sample_rate: float,
) -> np.ndarray:
    """signal + scale [leads, 1] x sum over k of amplitude cos(2 pi frequency t / sample_rate + phase), float32."""
    time = np.arange(signal.shape[-1]) / sample_rate
    waves = np.cos(2 * np.pi * frequencies[:, None] * time + phases[:, None])  # [k, samples]
    return (signal + scale * (amplitudes @ waves)).astype(np.float32)
