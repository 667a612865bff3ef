"""A residual CNN for 12-lead ECG, on all leads at once or on each lead alike."""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from ecg_signals.config import ConfigError, option
from ecg_signals.models.encoders.ecg_transformer import ModelConfig
from ecg_signals.models.encoders.residual import Map, ResidualEncoder
from ecg_signals.modules.centred_conv import (
    average_pool,
    batch_norm,
    check_leadwise,
    convolution,
    hide_padding,
    parse_numbers,
    strided,
)  # fmt: skip
from ecg_signals.registry import register_model
from ecg_signals.signal.leads import LEADS


@dataclass
class Nejedly2021ResNetConfig(ModelConfig):
    num_blocks: int = option(5, "residual blocks", least=0)
    num_filters: int = option(256, "channels", least=1)
    kernel_size: str = option("[15, 9]", "samples of the first convolution, frames of those in the blocks; odd")
    stride: int = option(2, "of the first convolution and of every block", least=1)
    in_d: int = option(12, "leads; 1 with leadwise", least=1)
    conv_bias: bool = option(False, "convolutions have a bias")
    leadwise: bool = option(False, "the same filters on every lead alike; leads never mix")


class ResidualBlock(nn.Module):
    """Two convolutions beside an average pool; the sum is not activated."""

    def __init__(self, dim: int, kernel: int, stride: int, bias: bool, leadwise: bool) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = convolution(leadwise, dim, dim, kernel, stride, bias)
        self.bn1 = batch_norm(leadwise, dim)
        self.conv2 = convolution(leadwise, dim, dim, kernel, 1, bias)
        self.bn2 = batch_norm(leadwise, dim)
        self.idfunc_1 = convolution(leadwise, dim, dim, 1, 1, bias)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        after = strided(lengths, self.stride)
        y = F.leaky_relu(self.bn1(self.conv1(hide_padding(x, lengths))))
        y = F.leaky_relu(self.bn2(self.conv2(hide_padding(y, after))))
        return y + self.idfunc_1(average_pool(x, self.stride, lengths))


@register_model("nejedly2021resnet", dataclass=Nejedly2021ResNetConfig)
class Nejedly2021ResNet(ResidualEncoder):
    """Source: Nejedly et al. 2021, Classification of ECG Using Ensemble of Residual CNNs, Computing in Cardiology."""

    cfg: Nejedly2021ResNetConfig
    encoder_name = "nejedly2021resnet"
    ARCHITECTURE: ClassVar[tuple[str, ...]] = (
        "num_blocks", "num_filters", "kernel_size", "stride", "in_d", "conv_bias", "leadwise",
    )  # fmt: skip

    def __init__(self, cfg: Nejedly2021ResNetConfig) -> None:
        super().__init__(cfg)
        check_leadwise(cfg.leadwise, cfg.in_d)
        first, inner = _kernels(cfg.kernel_size)
        dim, leadwise = cfg.num_filters, cfg.leadwise
        self.conv = convolution(leadwise, cfg.in_d, dim, first, cfg.stride, cfg.conv_bias)
        self.bn = batch_norm(leadwise, dim)
        self.blocks = nn.ModuleList(
            ResidualBlock(dim, inner, cfg.stride, cfg.conv_bias, leadwise) for _ in range(cfg.num_blocks)
        )

    @property
    def dim(self) -> int:
        return self.cfg.num_filters * (len(LEADS) if self.cfg.leadwise else 1)

    def parts(self) -> list[tuple[str, ...]]:
        return [("conv", "bn"), *((f"blocks.{block}",) for block in range(self.cfg.num_blocks))]

    def maps(self, x: Tensor, lengths: Tensor | None) -> list[Map]:
        x = F.leaky_relu(self.bn(self.conv(hide_padding(x, lengths))))
        lengths = strided(lengths, self.cfg.stride)
        maps = [(x, lengths)]
        for block in self.blocks:
            x = block(x, lengths)
            lengths = strided(lengths, self.cfg.stride)
            maps.append((x, lengths))
        return maps


def _kernels(text: str) -> tuple[int, int]:
    kernels = parse_numbers(text, "model.kernel_size", "[15, 9]")
    if len(kernels) != 2 or any(kernel % 2 == 0 for kernel in kernels):
        raise ConfigError(f'model.kernel_size is {text!r}; it must be two odd numbers, such as "[15, 9]"')
    return kernels[0], kernels[1]
