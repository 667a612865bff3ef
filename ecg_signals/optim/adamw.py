"""torch's AdamW, fused where the weights allow it."""

from dataclasses import dataclass
from inspect import unwrap

import torch

from ecg_signals.config import option
from ecg_signals.optim.adam import AdamConfig, FromOptions
from ecg_signals.registry import register_optimizer


@dataclass
class AdamWConfig(AdamConfig):
    adam_eps: float = option(1e-8, "added to the bias-corrected root of the running square")
    weight_decay: float = option(0.01, "share of a weight removed per update and unit of learning rate")


@register_optimizer("adamw", dataclass=AdamWConfig)
class AdamW(FromOptions, torch.optim.AdamW):
    """Epsilon acts after the bias correction; fairseq's `adam` adds it before."""

    step = torch.no_grad()(unwrap(torch.optim.AdamW.step))  # torch's wrapper of it imports the compiler too
