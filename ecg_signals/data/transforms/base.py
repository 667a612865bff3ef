"""What an augmentation is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.data.transforms.limb_leads import recompute_limb_leads
from ecg_signals.data.transforms.rng import Rng


class Transform(ABC):
    """Extend it, write `__call__`, and name it with `@register_transform("name", dataclass=Options)`.

    `task.perturbation_mode` lists names, `task.p` the chance of each: the pipeline draws whether it is applied. The
    options of all registered transforms are the dataset's, typed in the section `task`, used or not; two transforms may
    share one when type and default are the same.

    Class attributes:
        needs_rate: it cannot work without the sample rate.
        loses_leads: whole leads may be zero afterwards, so that a model trained with it takes records without them.
        random: it draws; another one does the same to every item.
        grow, shrink: options that `rand_augment` multiplies, or divides, by its level / 10.
    """

    needs_rate: ClassVar[bool] = False
    loses_leads: ClassVar[bool] = False
    random: ClassVar[bool] = True
    grow: ClassVar[tuple[str, ...]] = ()
    shrink: ClassVar[tuple[str, ...]] = ()

    def __init__(self, cfg: Any, sample_rate: float | None) -> None:
        """
        Args:
            cfg: an instance of the registered dataclass.
            sample_rate: Hz of the signals, None when neither the recipe nor the files say.
        Raises: ConfigError for options that do not fit.
        """
        if self.needs_rate and not sample_rate:
            raise ConfigError(
                f"{cfg._name} needs the sample rate, which the files do not hold; set task.sample_rate=HZ"
            )
        self.cfg, self.sample_rate = cfg, float(sample_rate or 0)

    def combine(self, make: Callable[[str, float], "Transform"]) -> None:
        """For one that applies others: `make(name, strength)` gives them, `grow` and `shrink` changed by `strength`."""
        return

    def may_lose_leads(self) -> bool:
        """`loses_leads` with the options that it has."""
        return self.loses_leads

    def change(self, signal: np.ndarray, rng: Rng, leads: Sequence[int]) -> np.ndarray:
        """As `__call__`, for a float32 signal that nobody needs any more: it may be written over."""
        return self(signal, rng, leads)

    @abstractmethod
    def __call__(self, signal: np.ndarray, rng: Rng, leads: Sequence[int]) -> np.ndarray:
        """signal [leads, samples], left unchanged -> float32 of the same shape and unit.

        The unit is that of the stored segments: z-scores, or mV after `ecg-preprocess ... standardise=false`.

        Args:
            rng: all that is random comes from it, so that a resumed run sees the same items.
            leads: number of each row in the order I II III aVR aVL aVF V1-V6.
        """


@dataclass
class NoiseConfig(BaseConfig):
    max_amplitude: float = option(0.1, "largest amplitude of noise, shift and wander, in the signal's unit", least=0)
    min_amplitude: float = option(0.0, "smallest amplitude of noise, shift and wander, in the signal's unit", least=0)
    dependency: bool = option(True, "recompute III, aVR, aVL and aVF from I and II after noise, shift and wander")

    def __post_init__(self) -> None:
        check_rising(self, "min_amplitude", "max_amplitude")


def check_rising(cfg: BaseConfig, smallest: str, largest: str) -> None:
    """Raises: ConfigError where the first option is larger than the second."""
    low, high = getattr(cfg, smallest), getattr(cfg, largest)
    if low > high:
        raise ConfigError(
            f"task.{smallest}={low:g} is above task.{largest}={high:g}; set {smallest} to {high:g} or less"
        )


class Noise(Transform):
    """What is added to every lead of its own; with `dependency` the limb leads agree with each other afterwards."""

    cfg: NoiseConfig

    def __call__(self, signal: np.ndarray, rng: Rng, leads: Sequence[int]) -> np.ndarray:
        return recompute_limb_leads(self.noisy(signal, rng), leads if self.cfg.dependency else None)

    @abstractmethod
    def noisy(self, signal: np.ndarray, rng: Rng) -> np.ndarray:
        """signal [leads, samples], left unchanged -> float32 of the same shape, as if each lead were measured alone."""

    def amplitude(self, rng: Rng, size: int | tuple[int, int]) -> np.ndarray:
        """Heights drawn between the two options, in the signal's unit."""
        return rng.uniform(self.cfg.min_amplitude, self.cfg.max_amplitude, size=size)
