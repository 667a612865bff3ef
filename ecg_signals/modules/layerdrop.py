"""Layers that are left out at random."""

from typing import Any

import torch
from torch import Tensor, nn


def left_out(layer: nn.Module, x: Tensor, *more: Any) -> Tensor:
    """What comes out of a stack of layers instead of `layer(x, *more)`: `x`.

    A layer whose weights are sharded over ranks runs all the same, since other ranks may keep it and wait for this
    one's part: its gradients are zeros, and the random stream is as if it had not run.
    """
    if not hasattr(layer, "unshard"):  # torch's FSDPModule
        return x
    layer.left_out = True  # type: ignore[assignment]  # its gradient counts for nothing, where all ranks say so
    with torch.random.fork_rng([x.device] if x.is_cuda else []):
        found = layer(x, *more)
    layer.left_out = False  # type: ignore[assignment]
    ignored = found[0] if isinstance(found, tuple) else found
    return torch.where(torch.zeros((), dtype=torch.bool, device=x.device), ignored.to(x.dtype), x)
