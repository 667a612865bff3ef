"""torch's AdamW, fused where the weights allow it."""

from collections.abc import Iterable
from dataclasses import dataclass
from inspect import unwrap
from typing import Any

import torch

from ecg_signals.config import option
from ecg_signals.optim.adam import AdamConfig, Uncompiled, check_adam_options
from ecg_signals.registry import register_optimizer


@dataclass
class AdamWConfig(AdamConfig):
    adam_eps: float = option(1e-8, "added to the bias-corrected root of the running square")
    weight_decay: float = option(0.01, "share of a weight removed per update and unit of learning rate")


@register_optimizer("adamw", dataclass=AdamWConfig)
class AdamW(Uncompiled, torch.optim.AdamW):
    """Epsilon acts after the bias correction; fairseq's `adam` adds it before."""

    step = torch.no_grad()(unwrap(torch.optim.AdamW.step))  # torch's wrapper of it imports the compiler too

    def __init__(self, params: Iterable[Any], cfg: AdamWConfig) -> None:
        check_adam_options(cfg.lr, cfg.adam_betas, cfg.adam_eps)
        beta1, beta2 = cfg.adam_betas
        super().__init__(
            params, lr=cfg.lr[0], betas=(beta1, beta2), eps=cfg.adam_eps, weight_decay=cfg.weight_decay, fused=True
        )
