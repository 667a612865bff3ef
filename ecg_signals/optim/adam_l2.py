"""torch's Adam, whose weight decay is a penalty: it passes the moments with the gradient."""

from collections.abc import Iterable
from dataclasses import dataclass
from inspect import unwrap
from typing import Any

import torch

from ecg_signals.config import option
from ecg_signals.optim.adam import AdamConfig, Uncompiled, check_adam_options
from ecg_signals.registry import register_optimizer


@dataclass
class AdamL2Config(AdamConfig):
    adam_eps: float = option(1e-8, "added to the bias-corrected root of the running square")
    weight_decay: float = option(0.0, "times a weight, added to its gradient, biases included")


@register_optimizer("adam_l2", dataclass=AdamL2Config)
class AdamL2(Uncompiled, torch.optim.Adam):
    """What programs call that use torch.optim.Adam; `adam` and `adamw` take decay off the weights themselves.

    Source: Kingma and Ba 2014, arXiv:1412.6980.
    """

    step = torch.no_grad()(unwrap(torch.optim.Adam.step))

    def __init__(self, params: Iterable[Any], cfg: AdamL2Config) -> None:
        check_adam_options(cfg.lr, cfg.adam_betas, cfg.adam_eps)
        beta1, beta2 = cfg.adam_betas
        super().__init__(
            params, lr=cfg.lr[0], betas=(beta1, beta2), eps=cfg.adam_eps, weight_decay=cfg.weight_decay, fused=True
        )
