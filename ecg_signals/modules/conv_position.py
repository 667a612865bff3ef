"""Position by a wide grouped convolution, added to the frames."""

import math

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm


class ConvPosition(nn.Module):
    """x + GELU(convolution of x), [batch, frames, dim] -> the same shape; weights normalised per kernel position."""

    def __init__(self, dim: int, kernel: int, groups: int) -> None:
        super().__init__()
        conv = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=groups)
        nn.init.normal_(conv.weight, std=math.sqrt(4.0 / (kernel * dim)))
        nn.init.zeros_(conv.bias)
        self.pos_conv = nn.Sequential(weight_norm(conv, name="weight", dim=2))

    def forward(self, x: Tensor) -> Tensor:
        position = self.pos_conv(x.transpose(1, 2))
        if position.shape[-1] > x.shape[1]:
            position = position[..., :-1]  # an even kernel gives one frame too many
        return x + F.gelu(position).transpose(1, 2)
