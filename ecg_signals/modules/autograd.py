"""Operations whose gradient is not that of their value."""

from typing import Any

import torch
from torch import Tensor


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] * ctx.factor, None


def scale_gradient(values: Tensor, factor: float) -> Tensor:
    """`values` unchanged; their gradient is multiplied by `factor`."""
    if factor == 1.0 or not values.requires_grad:
        return values
    return _ScaleGradient.apply(values, factor)
