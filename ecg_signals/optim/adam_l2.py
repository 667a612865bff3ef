"""torch's Adam, whose weight decay is a penalty: it passes the moments with the gradient."""

from dataclasses import dataclass
from inspect import unwrap

import torch

from ecg_signals.config import option
from ecg_signals.optim.adam import AdamConfig, FromOptions
from ecg_signals.registry import register_optimizer


@dataclass
class AdamL2Config(AdamConfig):
    adam_eps: float = option(1e-8, "added to the bias-corrected root of the running square")
    weight_decay: float = option(0.0, "times a weight, added to its gradient, biases included")


@register_optimizer("adam_l2", dataclass=AdamL2Config)
class AdamL2(FromOptions, torch.optim.Adam):
    """What programs call that use torch.optim.Adam; `adam` and `adamw` take decay off the weights themselves.

    Source: Kingma and Ba 2014, arXiv:1412.6980.
    """

    step = torch.no_grad()(unwrap(torch.optim.Adam.step))
