"""Hum of the power line."""

import numpy as np

from ecg_signals.data.transforms.base import Noise, NoiseConfig
from ecg_signals.data.transforms.rng import Rng
from ecg_signals.registry import register_transform


@register_transform("powerline_noise", dataclass=NoiseConfig)
class PowerlineNoise(Noise):
    """One 50 or 60 Hz cosine of random amplitude and phase on all leads."""

    needs_rate = True

    def noisy(self, signal: np.ndarray, rng: Rng) -> np.ndarray:
        amplitude = self.amplitude(rng, (1, 1))
        frequency = 50.0 if rng.uniform() > 0.5 else 60.0
        return add_powerline(signal, amplitude, frequency, rng.uniform(0.0, 2 * np.pi), self.sample_rate)


def add_powerline(
    signal: np.ndarray, amplitude: np.ndarray | float, frequency: float, phase: float, sample_rate: float
) -> np.ndarray:
    """signal + amplitude cos(2 pi frequency t / sample_rate + phase), float32.

    Args:
        signal: [leads, samples]; `amplitude` has its unit.
        frequency: Hz, as `sample_rate`.
        phase: radians.
    """
    angle = 2 * np.pi * frequency * np.arange(signal.shape[-1]) / sample_rate + phase
    return (signal + amplitude * np.cos(angle)).astype(np.float32)
