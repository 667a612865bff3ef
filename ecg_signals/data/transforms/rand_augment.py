"""A few augmentations out of a list, drawn anew for every item."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.data.transforms.base import Transform
from ecg_signals.data.transforms.rng import Rng
from ecg_signals.registry import register_transform

HIGHEST = 10.0  # level at which the augmentations have the strength that their options say


@dataclass
class RandAugmentConfig(BaseConfig):
    augment_ops: list[str] = option(
        ["shift", "cutout", "drop", "flip", "erase", "sine", "partial_sine", "partial_white_noise"],
        "augmentations that rand_augment draws from",
        ours=True,
    )
    augment_layers: int = option(2, "how many of augment_ops rand_augment draws for an item", least=1, ours=True)
    augment_prob: float = option(0.5, "chance of each drawn one to be applied", least=0, most=1, ours=True)
    augment_level: float = option(
        10.0,
        "strength: 10 is what the augmentations' own options say, 5 half of it",
        above=0,
        ours=True,
    )


@register_transform("rand_augment", dataclass=RandAugmentConfig)
class RandAugment(Transform):
    """`augment_layers` different ones of `augment_ops`, in the order drawn, each applied with `augment_prob`.

    Source: Cubuk et al. 2020, RandAugment, arXiv:1909.13719, as ST-MEM fine-tunes with it, arXiv:2402.09450.
    """

    cfg: RandAugmentConfig
    loses_leads = True

    def may_lose_leads(self) -> bool:
        return any(op.may_lose_leads() for op in self.ops)

    def combine(self, make: Callable[[str, float], Transform]) -> None:
        names, wanted = self.cfg.augment_ops, self.cfg.augment_layers
        if "rand_augment" in names or len(set(names)) != len(names) or wanted > len(names):
            raise ConfigError(
                f"task.augment_ops is {names} with task.augment_layers={wanted}; expected at least as many "
                f"augmentations, each once, and not rand_augment itself"
            )
        try:
            self.ops = [make(name, self.cfg.augment_level / HIGHEST) for name in names]
        except ConfigError as error:
            raise ConfigError(f"task.augment_level={self.cfg.augment_level:g} changes options: {error}") from None

    def __call__(self, signal: np.ndarray, rng: Rng, leads: Sequence[int]) -> np.ndarray:
        found = signal.astype(np.float32)
        for chosen in rng.choice(len(self.ops), self.cfg.augment_layers, replace=False):
            if rng.uniform() < self.cfg.augment_prob:
                found = self.ops[chosen](found, rng, leads)
        return found
