"""Layers whose inner values can be computed again in the backward pass instead of being kept."""

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

RECOMPUTE = "compute the inner values of blocks again in the backward pass: less memory, a third more computing"


class RecomputedLayer(nn.Module):
    """Extend it instead of nn.Module for a layer of which a model has many.

    Attributes:
        recomputed: keep the layer's inputs alone; the same numbers come out, random ones included.

    Source: Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost, arXiv:1604.06174.
    """

    recomputed = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not (self.recomputed and self.training and torch.is_grad_enabled()):
            return super().__call__(*args, **kwargs)
        return checkpoint(super().__call__, *args, use_reentrant=False, **kwargs)


def recompute_layers(model: nn.Module) -> int:
    """Have every RecomputedLayer below `model` do so. Returns: how many there are."""
    layers = [layer for layer in model.modules() if isinstance(layer, RecomputedLayer)]
    for layer in layers:
        layer.recomputed = True
    return len(layers)
