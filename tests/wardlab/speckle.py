"""Single samples that are hit by chance."""
from dataclasses import dataclass

import numpy as np

from ecg_signals.config import BaseConfig, option
from ecg_signals.data.transforms.base import Transform
from ecg_signals.registry import register_transform


@dataclass
class SpeckleConfig(BaseConfig):
    speckle_share: float = option(0.01, "share of the samples that are hit")
    max_amplitude: float = option(0.1, "height, in the signal's unit; shared with the noises")


@register_transform("speckle", dataclass=SpeckleConfig)
class Speckle(Transform):
    def __call__(self, signal, rng, leads):
        hit = rng.uniform(size=signal.shape) < self.cfg.speckle_share
        return (signal + hit * self.cfg.max_amplitude).astype(np.float32)
