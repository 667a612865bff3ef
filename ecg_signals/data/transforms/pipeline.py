"""The augmentations that a recipe names, applied in its order."""

from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from ecg_signals.config import BaseConfig, ConfigError
from ecg_signals.data.transforms.base import Transform
from ecg_signals.data.transforms.rng import Rng
from ecg_signals.registry import Entry, register_transform


class Pipeline:
    """What `perturbation_mode` lists, each applied with its chance of `p`; see `build_pipeline`."""

    def __init__(self, transforms: Sequence[Transform], chances: Sequence[float]) -> None:
        self.steps = list(zip(transforms, chances, strict=True))

    def __call__(self, signal: np.ndarray, rng: Rng, leads: Sequence[int]) -> np.ndarray:
        """signal [leads, samples], left unchanged -> float32 of the same shape; `leads`: the rows' standard numbers."""
        for transform, chance in self.steps:
            if rng.uniform() < chance:
                signal = transform(signal, rng, leads)
        return signal


def build_pipeline(cfg: BaseConfig, sample_rate: float | None) -> Pipeline | None:
    """The augmentations that the options of a dataset name, None when they name none.

    Args:
        sample_rate: Hz of the signals, None when neither the recipe nor the files say.
    Raises: UsageError for an unknown augmentation, ConfigError for options that do not fit.
    """
    values = cfg.to_dict()
    names = list(values["perturbation_mode"] or [])
    chances = list(values["p"]) * (len(names) if len(values["p"]) == 1 else 1)
    if names and (len(chances) != len(names) or not all(0 <= chance <= 1 for chance in chances)):
        raise ConfigError(
            f"task.p is {values['p']} for {len(names)} augmentations ({', '.join(names)}); expected one probability "
            f"from 0 to 1, or one for each"
        )
    found = [_transform(register_transform.get(name), values, sample_rate) for name in names]
    return Pipeline(found, chances) if found else None


def _transform(entry: Entry[Transform], values: dict[str, object], sample_rate: float | None) -> Transform:
    """A transform with its part of a dataset's options."""
    own = {item.name: values[item.name] for item in fields(entry.dataclass) if item.name in values}
    return entry.cls(entry.dataclass.from_mapping({**own, "_name": entry.name}, where="task"), sample_rate)


def loses_leads(cfg: BaseConfig) -> bool:
    """Whether training zeroes whole leads, so that the model takes records without them."""
    return any(register_transform.get(name).cls.loses_leads for name in cfg.to_dict()["perturbation_mode"] or [])
