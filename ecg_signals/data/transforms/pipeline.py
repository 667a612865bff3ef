"""The augmentations that a recipe names, applied in its order."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError, UsageError, unknown_message
from ecg_signals.data.transforms.baseline_shift import baseline_shift
from ecg_signals.data.transforms.baseline_wander import baseline_wander
from ecg_signals.data.transforms.emg_noise import emg_noise
from ecg_signals.data.transforms.powerline_noise import powerline_noise
from ecg_signals.data.transforms.random_leads_masking import (
    check_condition,
    conditional_leads_masking,
    random_leads_masking,
)
from ecg_signals.data.transforms.rng import Rng

NAMES = ("random_leads_masking", "powerline_noise", "emg_noise", "baseline_shift", "baseline_wander")
NEEDS_RATE = ("powerline_noise", "baseline_wander")


class Pipeline:
    """What `cfg.perturbation_mode` lists: a function (signal, rng, leads) -> signal; see `build_pipeline`."""

    def __init__(self, cfg: Any, sample_rate: float | None) -> None:
        names = list(cfg.perturbation_mode)
        chances = list(cfg.p) * len(names) if len(cfg.p) == 1 else list(cfg.p)
        if len(chances) != len(names) or not all(0 <= p <= 1 for p in chances):
            raise ConfigError(
                f"task.p is {list(cfg.p)} for {len(names)} augmentations ({', '.join(names)}); expected one "
                f"probability from 0 to 1, or one for each"
            )
        self.steps = [_step(name, cfg, p, sample_rate) for name, p in zip(names, chances)]

    def __call__(self, signal: np.ndarray, rng: Rng, leads: Sequence[int]) -> np.ndarray:
        """signal [leads, samples], left unchanged -> float32 of the same shape; `leads`: the rows' standard numbers."""
        for step, uses_leads in self.steps:
            signal = step(signal, rng, leads=leads) if uses_leads else step(signal, rng)
        return signal


def build_pipeline(cfg: Any, sample_rate: float | None) -> Pipeline | None:
    """The augmentations of an EcgFileConfig, None when it names none.

    Args:
        sample_rate: Hz of the signals, None when neither the recipe nor the files say.
    Raises: UsageError for an unknown augmentation, ConfigError for options that do not fit.
    """
    return Pipeline(cfg, sample_rate) if cfg.perturbation_mode else None


def _step(name: str, cfg: Any, p: float, sample_rate: float | None) -> tuple[Callable[..., np.ndarray], bool]:
    """One augmentation with its options, and whether it must be told the leads."""
    if name not in NAMES:
        raise UsageError(unknown_message(f"augmentation '{name}' in task.perturbation_mode", name, NAMES, "Known"))
    if name in NEEDS_RATE and not sample_rate:
        raise ConfigError(f"{name} needs the sample rate, which the files do not hold; set task.sample_rate=HZ")
    if name == "random_leads_masking":
        if cfg.mask_leads_selection == "conditional":
            counts = check_condition(cfg.mask_leads_condition)
            return partial(conditional_leads_masking, p=p, counts=counts), True
        return partial(random_leads_masking, p=p, prob=cfg.mask_leads_prob), False
    shared = {"p": p, "max_amplitude": cfg.max_amplitude, "min_amplitude": cfg.min_amplitude}
    own = {
        "powerline_noise": {"sample_rate": sample_rate},
        "emg_noise": {},
        "baseline_shift": {
            "shift_ratio": cfg.shift_ratio,
            "num_segment": cfg.num_segment,
            "published": cfg.shift_form == "published",
        },
        "baseline_wander": {
            "sample_rate": sample_rate,
            "max_freq": cfg.max_freq,
            "min_freq": cfg.min_freq,
            "k": cfg.k,
        },
    }
    functions: dict[str, Callable[..., np.ndarray]] = {
        "powerline_noise": powerline_noise,
        "emg_noise": emg_noise,
        "baseline_shift": baseline_shift,
        "baseline_wander": baseline_wander,
    }
    return partial(functions[name], **shared, **own[name]), cfg.dependency
