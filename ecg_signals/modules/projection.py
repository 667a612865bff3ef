"""From one vector per view to what contrastive criteria compare."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def projection(dims: Sequence[int], *, norm: bool = True, last_norm: bool = False) -> nn.Sequential:
    """Linear layers between `dims`, with ReLU between them: [batch, dims[0]] -> [batch, dims[-1]].

    Args:
        norm: a batch norm before every ReLU; the layer before it then has no bias.
        last_norm: one behind the last layer, without weights of its own, as MoCo v3 has it.
    """
    layers: list[nn.Module] = []
    for number, (before, dim) in enumerate(pairwise(dims), 2):
        last = number == len(dims)
        normed = last_norm if last else norm
        layers.append(nn.Linear(before, dim, bias=not normed))
        layers += [nn.BatchNorm1d(dim, affine=not last)] if normed else []
        layers += [] if last else [nn.ReLU()]
    return nn.Sequential(*layers)
