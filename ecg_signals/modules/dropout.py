"""Dropout whose masks are cheap to draw on a CPU."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

STEPS = 1 << 16  # chances are multiples of 1 / STEPS; 0.1 becomes 0.1 + 6e-6, and the scale knows


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, keep: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(keep)
        ctx.scale = scale
        return _keep(x, keep, scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (keep,) = ctx.saved_tensors
        return _keep(grad, keep, ctx.scale), None, None


def _keep(x: Tensor, keep: Tensor, scale: float) -> Tensor:
    return keep.to(x.dtype).mul_(scale).mul_(x)


def dropout(x: Tensor, p: float) -> Tensor:
    """`x` with each value zeroed at chance `p` and the others scaled by 1 / (1 - p), for training.

    On a CPU four values share one 64-bit draw of torch's generator; elsewhere this is torch's own dropout.
    """
    if p <= 0:
        return x
    if x.device.type != "cpu" or p >= 1 or torch.compiler.is_compiling():
        return F.dropout(x, p)
    threshold = round(p * STEPS)
    draws = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(1 << 63), None)
    keep = draws.view(torch.int16)[: x.numel()].view(x.shape) >= threshold - STEPS // 2
    return _Dropout.apply(x, keep, STEPS / (STEPS - threshold))


class Dropout(nn.Dropout):
    """torch.nn.Dropout computed by `dropout`."""

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p) if self.training else x
