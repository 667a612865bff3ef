"""Centred convolutions over time, leads together or apart, on batches whose padding must not show.

Maps are [batch, channels, frames], leadwise [batch, channels, leads, frames]. Padded frames are set to 0 at the input
of every convolution, so that an item gives the same features alone and beside a longer one.
"""

from collections.abc import Iterable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecg_signals.config import ConfigError, parse_literal
from ecg_signals.modules.conv_stem import unpadded_lengths


def convolution(leadwise: bool, in_dim: int, dim: int, kernel: int, stride: int = 1, bias: bool = False) -> nn.Module:
    """Over `kernel` frames (odd) around each; leadwise the same filters serve every lead."""
    if leadwise:
        return nn.Conv2d(in_dim, dim, (1, kernel), (1, stride), (0, kernel // 2), bias=bias)
    return nn.Conv1d(in_dim, dim, kernel, stride, kernel // 2, bias=bias)


def batch_norm(leadwise: bool, dim: int) -> nn.Module:
    """Over batch and frames, leadwise over leads too."""
    return nn.BatchNorm2d(dim) if leadwise else nn.BatchNorm1d(dim)


def add_leads_axis(source: Tensor, leadwise: bool) -> Tensor:
    """[batch, leads, samples] -> leadwise [batch, 1, leads, samples], else unchanged."""
    return source.unsqueeze(1) if leadwise else source


def to_frames(x: Tensor, lead_major: bool = False) -> Tensor:
    """A map -> [batch, frames, dim]; leadwise dim = channels x leads, channel by channel or lead by lead."""
    if lead_major and x.dim() == 4:
        x = x.transpose(1, 2)
    return x.flatten(1, -2).transpose(1, 2)


def lengths_of(padding_mask: Tensor | None) -> Tensor | None:
    """bool [batch, (leads,) samples], True = padding -> int64 [batch] unpadded samples; None stays None."""
    return None if padding_mask is None else unpadded_lengths(padding_mask)


def strided(lengths: Tensor | None, stride: int) -> Tensor | None:
    """Unpadded frames after a centred convolution, or after a pool that keeps its last, partial window."""
    return None if lengths is None else torch.div(lengths + stride - 1, stride, rounding_mode="floor")


def after_convolution(lengths: Tensor | None, conv: nn.Conv1d) -> Tensor | None:
    """Unpadded frames after any convolution, as many as an item of that length alone has."""
    if lengths is None:
        return None
    (kernel,), (stride,), padding = conv.kernel_size, conv.stride, int(conv.padding[0])
    return torch.div(lengths + 2 * padding - kernel, stride, rounding_mode="floor").clamp(min=0) + 1


def padding_of(lengths: Tensor | None, frames: int) -> Tensor | None:
    """-> bool [batch, frames], True = padding."""
    return None if lengths is None else torch.arange(frames, device=lengths.device) >= lengths.unsqueeze(1)


def hide_padding(x: Tensor, lengths: Tensor | None, value: float = 0.0) -> Tensor:
    """A map with 0, or another value, in its padded frames."""
    padding = padding_of(lengths, x.shape[-1])
    if padding is None:
        return x
    return x.masked_fill(padding.view(len(x), *[1] * (x.dim() - 2), -1), value)


def average_pool(x: Tensor, stride: int, lengths: Tensor | None) -> Tensor:
    """Means of `stride` frames; the last window counts only the frames it has."""
    pooled = F.avg_pool1d(hide_padding(x, lengths).flatten(1, -2), stride, ceil_mode=True)
    if lengths is not None:
        valid = hide_padding(torch.ones_like(pooled.new_empty(len(x), 1, x.shape[-1])), lengths)
        pooled = pooled / F.avg_pool1d(valid, stride, ceil_mode=True).clamp(min=1.0 / stride)
    return pooled.view(*x.shape[:-1], -1)


def average(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Mean over unpadded frames: [batch, channels, (leads,) frames] -> [batch, channels, (leads)]."""
    if lengths is None:
        return x.mean(dim=-1)
    return hide_padding(x, lengths).sum(dim=-1) / lengths.clamp(min=1).view(-1, *[1] * (x.dim() - 2))


def conv1d(in_dim: int, dim: int, kernel: int, stride: int = 1, bias: bool = False) -> nn.Conv1d:
    """Over `kernel` frames around each, of an even number one more after it; begins as He et al. 2015 do."""
    conv = nn.Conv1d(in_dim, dim, kernel, stride, (kernel - 1) // 2, bias=bias)
    nn.init.kaiming_normal_(conv.weight)
    return conv


def conv_norm(
    in_dim: int, dim: int, kernel: int, stride: int = 1, act: bool = True, bias: bool = False
) -> nn.Sequential:
    """Convolution, batch norm and, with `act`, ReLU; call it by `passed`."""
    return nn.Sequential(conv1d(in_dim, dim, kernel, stride, bias), nn.BatchNorm1d(dim), *([nn.ReLU()] if act else []))


def passed(layers: Iterable[nn.Module], x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """A map [batch, channels, frames] behind several `conv_norm`, and its unpadded frames."""
    for layer in layers:
        x = layer(hide_padding(x, lengths))
        lengths = after_convolution(lengths, cast(Any, layer)[0])
    return x, lengths


def max_pool(x: Tensor, kernel: int, stride: int, lengths: Tensor | None) -> Tensor:
    """Largest of the unpadded among `kernel` frames (odd) around every `stride`-th; 0 where there is none."""
    smallest = torch.finfo(x.dtype).min
    pooled = F.max_pool1d(hide_padding(x, lengths, smallest), kernel, stride, kernel // 2)
    return hide_padding(pooled, strided(lengths, stride))


def check_odd(value: int, where: str, example: int) -> None:
    """Raises: ConfigError for a kernel whose convolution would change the number of frames."""
    if value % 2 == 0:
        raise ConfigError(f"{where}={value}; it must be odd, such as {where}={example}")


def parse_numbers(text: str, where: str, example: str) -> list[int]:
    """ "[15, 9]" -> [15, 9]. Raises: ConfigError for anything but positive integers."""
    numbers = parse_literal(text, where)
    if not isinstance(numbers, (list, tuple)) or not numbers or any(type(n) is not int or n < 1 for n in numbers):
        raise ConfigError(f'{where} is {text!r}; it must be a list of positive integers, such as "{example}"')
    return list(numbers)


def check_leadwise(leadwise: bool, in_d: int) -> None:
    """Raises: ConfigError when a leadwise model is told of several leads."""
    if leadwise and in_d != 1:
        raise ConfigError(f"model.leadwise=true sees one lead at a time, but model.in_d={in_d}; set model.in_d=1")
