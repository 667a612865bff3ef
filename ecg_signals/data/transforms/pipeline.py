"""The augmentations that a recipe names, applied in its order."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from ecg_signals.config import BaseConfig, ConfigError
from ecg_signals.data.transforms.base import Transform
from ecg_signals.data.transforms.rng import Rng
from ecg_signals.registry import Entry, register_transform


class Pipeline:
    """What `perturbation_mode` lists, each applied with its chance of `p`; see `build_pipeline`."""

    def __init__(self, transforms: Sequence[Transform], chances: Sequence[float]) -> None:
        self.steps = list(zip(transforms, chances, strict=True))

    def __call__(self, signal: np.ndarray, rng: Rng, leads: Sequence[int], own: bool = False) -> np.ndarray:
        """signal [leads, samples] -> float32 of the same shape.

        Args:
            leads: the rows' standard numbers.
            own: nobody needs `signal`, a float32, any more; else it is left unchanged.
        """
        for transform, chance in self.steps:
            if rng.uniform() < chance:
                signal = (transform.change if own else transform)(signal, rng, leads)
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
    if names and len(chances) != len(names):
        raise ConfigError(
            f"task.p is {values['p']} for {len(names)} augmentations ({', '.join(names)}); expected one probability "
            f"from 0 to 1, or one for each"
        )
    found = [_transform(name, values, sample_rate) for name in names]
    return Pipeline(found, chances) if found else None


def _transform(name: str, values: Mapping[str, Any], sample_rate: float | None, strength: float = 1.0) -> Transform:
    """A registered transform with its part of a dataset's options, changed by `strength` as its class says."""
    entry: Entry[Transform] = register_transform.get(name)
    own = {item.name: values[item.name] for item in fields(entry.dataclass) if item.name in values}
    changed = {key: own[key] * strength for key in entry.cls.grow} | {
        key: own[key] / strength for key in entry.cls.shrink
    }
    cfg = entry.dataclass.from_mapping({**own, **changed, "_name": entry.name}, where="task")
    made = entry.cls(cfg, sample_rate)
    made.combine(lambda other, share: _transform(other, values, sample_rate, share))
    return made


def loses_leads(cfg: BaseConfig, sample_rate: float | None) -> bool:
    """Whether training zeroes whole leads, so that the model takes records without them."""
    pipeline = build_pipeline(cfg, sample_rate)
    return pipeline is not None and any(transform.may_lose_leads() for transform, _ in pipeline.steps)
