"""Every lead taller or smaller."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ecg_signals.config import BaseConfig, option
from ecg_signals.data.transforms.base import Transform
from ecg_signals.data.transforms.rng import Rng
from ecg_signals.registry import register_transform


@dataclass
class LeadGainConfig(BaseConfig):
    gain_range: tuple[float, float] = option(
        (0.5, 2.0), "smallest and largest factor of lead_gain", above=0, rising=True, ours=True
    )


@register_transform("lead_gain", dataclass=LeadGainConfig)
class LeadGain(Transform):
    """Each lead times a factor of its own, evenly drawn as a logarithm.

    ChannelResize of Mehari and Strodthoff 2022, arXiv:2103.12676.
    """

    cfg: LeadGainConfig

    def __call__(self, signal: np.ndarray, rng: Rng, leads: Sequence[int]) -> np.ndarray:
        smallest, largest = np.log(self.cfg.gain_range)
        return (signal * np.exp(rng.uniform(smallest, largest, size=(len(signal), 1)))).astype(np.float32)
