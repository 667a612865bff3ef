"""Noise of the muscles."""

import numpy as np

from ecg_signals.data.transforms.base import Noise, NoiseConfig
from ecg_signals.data.transforms.rng import Rng
from ecg_signals.registry import register_transform


@register_transform("emg_noise", dataclass=NoiseConfig)
class EmgNoise(Noise):
    """White Gaussian noise, with its own standard deviation on every lead."""

    def noisy(self, signal: np.ndarray, rng: Rng) -> np.ndarray:
        amplitude = self.amplitude(rng, (len(signal), 1))
        return add_emg(signal, amplitude, rng.normal(0.0, 1.0, size=signal.shape))


def add_emg(signal: np.ndarray, amplitude: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """signal + amplitude [leads, 1] x normal [leads, samples], float32; the amplitude has the signal's unit."""
    return (signal + amplitude * normal).astype(np.float32)
