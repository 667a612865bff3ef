"""A sine, a square wave or white noise on the whole item or on a stretch of it; source: ST-MEM, arXiv:2402.09450."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ecg_signals.config import BaseConfig, option
from ecg_signals.data.transforms.base import Transform
from ecg_signals.data.transforms.blanking import ShareConfig
from ecg_signals.data.transforms.rng import Rng, span
from ecg_signals.registry import register_transform


@dataclass
class HeightConfig(BaseConfig):
    noise_height: float = option(
        0.3,
        "height of sine and square, deviation of white_noise, in the signal's unit; partial noise too",
        least=0,
        ours=True,
    )


@dataclass
class WaveConfig(HeightConfig):
    noise_period: float = option(0.5, "period of sine and square, as a share of the item", above=0, ours=True)


class _Added(Transform):
    """What is added to every lead."""

    cfg: HeightConfig
    grow: ClassVar[tuple[str, ...]] = ("noise_height",)

    def __call__(self, signal: np.ndarray, rng: Rng, leads: Sequence[int]) -> np.ndarray:
        return (signal + self.noise(signal, rng)).astype(np.float32)

    @abstractmethod
    def noise(self, signal: np.ndarray, rng: Rng) -> np.ndarray:
        """[leads or 1, samples], in the unit of `signal` [leads, samples]."""


class _Wave(_Added):
    """The same on all leads, from phase 0 on: nothing is drawn."""

    cfg: WaveConfig
    shrink = ("noise_period",)
    random = False

    def turns(self, samples: int) -> np.ndarray:
        """[1, samples] how often the wave has come round."""
        return np.arange(samples)[None] / (self.cfg.noise_period * samples)


@register_transform("sine", dataclass=WaveConfig)
class Sine(_Wave):
    """One sine on all leads."""

    def noise(self, signal: np.ndarray, rng: Rng) -> np.ndarray:
        return self.cfg.noise_height * np.sin(2 * np.pi * self.turns(signal.shape[-1]))


@register_transform("square", dataclass=WaveConfig)
class Square(_Wave):
    """One square wave on all leads: up for the first half of its period, down for the second."""

    def noise(self, signal: np.ndarray, rng: Rng) -> np.ndarray:
        return np.where(self.turns(signal.shape[-1]) % 1 < 0.5, self.cfg.noise_height, -self.cfg.noise_height)


@register_transform("white_noise", dataclass=HeightConfig)
class WhiteNoise(_Added):
    """Gaussian noise, drawn for every sample of every lead."""

    def noise(self, signal: np.ndarray, rng: Rng) -> np.ndarray:
        return self.cfg.noise_height * rng.normal(size=signal.shape)


@dataclass
class PartialNoiseConfig(HeightConfig, ShareConfig):
    pass


@dataclass
class PartialWaveConfig(WaveConfig, PartialNoiseConfig):
    pass


class _Partial(_Added):
    """The beginning of such noise, put on one stretch of the item."""

    cfg: PartialNoiseConfig
    grow = ("noise_height", "largest_share")
    random = True

    def __call__(self, signal: np.ndarray, rng: Rng, leads: Sequence[int]) -> np.ndarray:
        noise = self.noise(signal, rng)
        stretch = span(rng, signal.shape[-1], self.cfg.largest_share)
        changed = signal.astype(np.float32)
        changed[:, stretch] += noise[:, : stretch.stop - stretch.start].astype(np.float32)
        return changed


@register_transform("partial_sine", dataclass=PartialWaveConfig)
class PartialSine(_Partial, Sine):
    """A sine on a stretch of all leads."""

    cfg: PartialWaveConfig


@register_transform("partial_square", dataclass=PartialWaveConfig)
class PartialSquare(_Partial, Square):
    """A square wave on a stretch of all leads."""

    cfg: PartialWaveConfig


@register_transform("partial_white_noise", dataclass=PartialNoiseConfig)
class PartialWhiteNoise(_Partial, WhiteNoise):
    """Gaussian noise on a stretch of all leads."""

    cfg: PartialNoiseConfig
