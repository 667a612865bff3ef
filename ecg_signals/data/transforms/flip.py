"""The item upside down."""

from collections.abc import Sequence

import numpy as np

from ecg_signals.data.transforms.base import Transform
from ecg_signals.data.transforms.rng import Rng
from ecg_signals.registry import register_transform


@register_transform("flip")
class Flip(Transform):
    """Every value with the other sign, as if all electrodes were swapped."""

    random = False

    def __call__(self, signal: np.ndarray, rng: Rng, leads: Sequence[int]) -> np.ndarray:
        return (-signal).astype(np.float32)
