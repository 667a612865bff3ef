"""Position by a wide grouped convolution, added to the frames."""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm


class ConvPosition(nn.Module):
    """x + GELU(convolution of x), [batch, frames, dim] -> the same shape; weights normalised per kernel position."""

    def __init__(self, dim: int, kernel: int, groups: int) -> None:
        super().__init__()
        conv = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=groups)
        nn.init.normal_(conv.weight, std=math.sqrt(4.0 / (kernel * dim)))
        nn.init.zeros_(cast(Tensor, conv.bias))
        self.pos_conv = nn.Sequential(weight_norm(conv, name="weight", dim=2))

    def forward(self, x: Tensor) -> Tensor:
        conv = cast(nn.Conv1d, self.pos_conv[0])
        return x + F.gelu(centred_convolution(x, conv.weight, cast(Tensor, conv.bias), conv.groups))


def centred_convolution(x: Tensor, weight: Tensor, bias: Tensor, groups: int) -> Tensor:
    """y[t] = bias + sum over k of weight[k] x[t + k - kernel // 2], zeros around x.

    On a CPU a wide kernel goes through the spectrum of the frames when that takes less than half the multiplications;
    rounding errors are of the same size.

    Args:
        x: [batch, frames, in].
        weight: [out, in / groups, kernel].
        bias: [out].
    Returns: [batch, frames, out].
    """
    plain = x.device.type != "cpu" or torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu")
    if plain or x.dtype not in (torch.float32, torch.float64) or not _spectrum_pays(x, weight):
        kernel = weight.shape[-1]
        image = x.unsqueeze(1).permute(0, 3, 1, 2)  # [batch, in, 1, frames], channels last in memory: faster on a CPU
        y = F.conv2d(image, weight.unsqueeze(2), bias, padding=(0, kernel // 2), groups=groups)
        return y[..., : x.shape[1]].squeeze(2).transpose(1, 2)  # an even kernel gives one frame too many
    return _through_the_spectrum(x, weight, groups) + bias


def _period(frames: int, kernel: int) -> int:
    """Even, and so long that a kernel around any frame meets only zeros where it wraps around."""
    period = frames + kernel // 2
    return period + period % 2


def _spectrum_pays(x: Tensor, weight: Tensor) -> bool:
    (batch, frames, dim), (out, inner, kernel) = x.shape, weight.shape
    direct = batch * frames * out * inner * kernel
    transforms = kernel * out * inner + batch * frames * (dim + out)
    frequencies = _period(frames, kernel) // 2 + 1
    return 2 * frequencies * (2 * transforms + 4 * batch * out * inner) < direct


def _through_the_spectrum(x: Tensor, weight: Tensor, groups: int) -> Tensor:
    """Fourier transforms as matrix products, then one product of [batch, in] with [in, out] per frequency and group."""
    (batch, frames), (out, inner, kernel) = x.shape[:2], weight.shape
    period = _period(frames, kernel)
    signal = x.unflatten(2, (groups, inner)).permute(1, 2, 0, 3).reshape(frames, -1)  # [frames, groups x batch x in]
    cos, sin = ((wave @ signal).view(-1, batch, inner) for wave in _waves(period, frames, like=x))
    taps = weight.flatten(0, 1).t()  # [kernel, out x in]
    of_cos, of_sin = ((wave @ taps).view(-1, out // groups, inner) for wave in _waves(period, kernel, like=x))
    # (cos - i sin)(of_cos + i of_sin), real parts above imaginary ones: [frequencies x groups, 2 x batch, out / groups]
    product = torch.bmm(torch.cat([cos, -sin], dim=1), of_cos.mT)
    product = torch.baddbmm(product, torch.cat([sin, cos], dim=1), of_sin.mT)
    spectrum = product.unflatten(0, (-1, groups)).unflatten(2, (2, batch))
    spectrum = spectrum.transpose(1, 2).reshape(period + 2, -1)  # [2 x frequencies, groups x batch x out]
    y = _back(period, frames, kernel // 2, like=x) @ spectrum
    return y.view(frames, groups, batch, -1).permute(2, 0, 1, 3).reshape(batch, frames, out)


def _waves(period: int, length: int, like: Tensor, start: int = 0) -> tuple[Tensor, Tensor]:
    """Cosines and sines of every frequency: [period / 2 + 1, length] each."""
    frequency = torch.arange(period // 2 + 1, dtype=torch.float64).unsqueeze(1)
    angle = frequency * torch.arange(start, start + length, dtype=torch.float64) % period * (2 * math.pi / period)
    return angle.cos().to(like), angle.sin().to(like)


def _back(period: int, frames: int, left: int, like: Tensor) -> Tensor:
    """Real and imaginary parts of every frequency -> frames, the first one `left` before 0: [frames, period + 2]."""
    cos, sin = _waves(period, frames, like, start=-left)
    share = torch.full((period // 2 + 1, 1), 2.0 / period, dtype=like.dtype)
    share[0] = share[-1] = 1.0 / period
    return torch.stack([cos * share, -sin * share], dim=1).flatten(0, 1).t()
