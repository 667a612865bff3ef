"""Slow drift of the baseline, as from breathing."""

from dataclasses import dataclass

import numpy as np

from ecg_signals.config import option
from ecg_signals.data.transforms.base import Noise, NoiseConfig, check_rising
from ecg_signals.data.transforms.rng import Rng
from ecg_signals.registry import register_transform


@dataclass
class BaselineWanderConfig(NoiseConfig):
    max_freq: float = option(0.2, "Hz of the fastest baseline wander", least=0)
    min_freq: float = option(0.01, "Hz of the slowest baseline wander", least=0)
    k: int = option(3, "cosines that make up a baseline wander", least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rising(self, "min_freq", "max_freq")


@register_transform("baseline_wander", dataclass=BaselineWanderConfig)
class BaselineWander(Noise):
    """A sum of `k` slow cosines, scaled differently for every lead."""

    cfg: BaselineWanderConfig
    needs_rate = True

    def noisy(self, signal: np.ndarray, rng: Rng) -> np.ndarray:
        cfg = self.cfg
        scale = rng.normal(1.0, 0.5, size=(len(signal), 1))
        amplitudes = self.amplitude(rng, cfg.k)
        waves = [(rng.uniform(cfg.min_freq, cfg.max_freq), rng.uniform(0.0, 2 * np.pi)) for _ in range(cfg.k)]
        frequencies, phases = np.array(waves).reshape(cfg.k, 2).T
        return add_wander(signal, scale, amplitudes, frequencies, phases, self.sample_rate)


def add_wander(
    signal: np.ndarray,
    scale: np.ndarray,
    amplitudes: np.ndarray,
    frequencies: np.ndarray,
    phases: np.ndarray,
    sample_rate: float,
) -> np.ndarray:
    """signal + scale [leads, 1] x sum over k of amplitude cos(2 pi frequency t / sample_rate + phase), float32.

    Args:
        signal: [leads, samples]; `amplitudes` [k] have its unit.
        frequencies: [k], Hz, as `sample_rate`.
        phases: [k], radians.
    """
    time = np.arange(signal.shape[-1]) / sample_rate
    waves = np.cos(2 * np.pi * frequencies[:, None] * time + phases[:, None])  # [k, samples]
    return (signal + scale * (amplitudes @ waves)).astype(np.float32)
