"""The item smoothed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.data.transforms.base import Transform
from ecg_signals.data.transforms.rng import Rng
from ecg_signals.registry import register_transform


@dataclass
class BlurConfig(BaseConfig):
    blur_kernel: list[float] = option(
        [0.1, 0.2, 0.4, 0.2, 0.1], "weights of the samples around each, of an odd number, for blur", ours=True
    )

    def __post_init__(self) -> None:
        if len(self.blur_kernel) % 2 == 0:
            raise ConfigError(f"task.blur_kernel={self.blur_kernel}; give an odd number, such as [0.2,0.6,0.2]")


@register_transform("blur", dataclass=BlurConfig)
class Blur(Transform):
    """A weighted mean around every sample of each lead; the first and the last sample go on beyond the ends.

    GaussianBlur of Mehari and Strodthoff 2022, arXiv:2103.12676.
    """

    cfg: BlurConfig
    random = False

    def __call__(self, signal: np.ndarray, rng: Rng, leads: Sequence[int]) -> np.ndarray:
        kernel = np.array(self.cfg.blur_kernel)[::-1]  # weights are in the order of the samples
        padded = np.pad(signal, ((0, 0), (len(kernel) // 2, len(kernel) // 2)), mode="edge")
        return np.stack([np.convolve(lead, kernel, mode="valid") for lead in padded]).astype(np.float32)
