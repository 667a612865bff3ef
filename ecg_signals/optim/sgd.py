"""Stochastic gradient descent, with momentum on request; fused where the weights allow it."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from inspect import unwrap
from typing import Any

import torch

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.optim.adam import Uncompiled
from ecg_signals.registry import register_optimizer


@dataclass
class SGDConfig(BaseConfig):
    momentum: float = option(0.0, "share of the last step that is repeated", least=0)
    weight_decay: float = option(0.0, "times a weight, added to its gradient, biases included", least=0)
    lr: list[float] = option([0.25], "learning rate; the first one counts", follows="optimization.lr")


@register_optimizer("sgd", dataclass=SGDConfig)
class SGD(Uncompiled, torch.optim.SGD):
    """torch's: v = momentum * v + gradient, weight -= lr * v."""

    def __init__(self, params: Iterable[Any], cfg: SGDConfig) -> None:
        if not cfg.lr or not all(0 <= rate < math.inf for rate in cfg.lr):
            raise ConfigError(f"optimization.lr is {cfg.lr}; give numbers from 0 on, as in optimization.lr=[0.1]")
        super().__init__(params, lr=cfg.lr[0], momentum=cfg.momentum, weight_decay=cfg.weight_decay, fused=True)

    step = torch.no_grad()(unwrap(torch.optim.SGD.step))  # torch's wrapper of it imports the compiler
