"""Sudden steps of the baseline."""

from collections.abc import Sequence

import numpy as np

from ecg_signals.data.transforms.limb_leads import recompute_limb_leads
from ecg_signals.data.transforms.rng import Rng


def baseline_shift(
    signal: np.ndarray,
    rng: Rng,
    *,
    max_amplitude: float = 0.25,
    min_amplitude: float = 0.0,
    shift_ratio: float = 0.2,
    num_segment: int = 1,
    p: float = 1.0,
    leads: Sequence[int] | None = None,
    published: bool = False,
) -> np.ndarray:
    """With probability `p`, move stretches of every lead up or down by one amplitude, each lead with its own sign.

    Args:
        signal: [leads, samples], left unchanged.
        shift_ratio: mean length of a stretch as a share of the signal; the standard deviation is a fifth of it.
        num_segment: stretches; where they overlap the shift counts once.
        leads: row numbers in the standard order, to recompute III, aVR, aVL, aVF from I and II; None leaves them.
        published: shift by sign - amplitude, as published, instead of sign x amplitude.
    Returns: float32 [leads, samples].
    """
    if p <= rng.uniform():
        return signal
    samples = signal.shape[-1]
    signs = rng.choice([1, -1], size=(len(signal), 1))
    amplitude = rng.uniform(min_amplitude, max_amplitude, size=(1, 1))
    spans = []
    for _ in range(num_segment):
        length = rng.normal(shift_ratio * samples, 0.2 * shift_ratio * samples)
        first = int(rng.uniform(0, samples - length))
        spans.append((first, int(first + length)))
    shifted = add_shift(signal, signs, amplitude, spans, published=published)
    return recompute_limb_leads(shifted, leads)


def add_shift(
    signal: np.ndarray,
    signs: np.ndarray,
    amplitude: np.ndarray | float,
    spans: Sequence[Sequence[int]],
    *,
    published: bool = False,
) -> np.ndarray:
    """signal + signs x amplitude (published: signs - amplitude) inside the spans [first, behind), float32."""
    inside = np.zeros(signal.shape[-1])
    for first, behind in spans:
        inside[max(first, 0) : max(behind, 0)] = 1
    shift = signs - amplitude if published else signs * amplitude
    return (signal + shift * inside).astype(np.float32)
