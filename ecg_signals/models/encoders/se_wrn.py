"""A wide residual network with squeeze-and-excitation."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecg_signals.config import option
from ecg_signals.models.encoders.ecg_transformer import ModelConfig
from ecg_signals.models.encoders.residual import Map, ResidualEncoder
from ecg_signals.modules.centred_conv import (
    average,
    average_pool,
    batch_norm,
    check_leadwise,
    check_odd,
    convolution,
    hide_padding,
    parse_numbers,
    strided,
)  # fmt: skip
from ecg_signals.modules.pooling import pool_maximum
from ecg_signals.registry import register_model
from ecg_signals.signal.leads import LEADS

BLOCK_DROPOUT = 0.3  # between the convolutions of a block, as in fairseq-signals' se_wrn


@dataclass
class SEWRNConfig(ModelConfig):
    num_blocks: int = option(3, "blocks per group", least=1)
    num_filters: str = option("[16, 16, 32, 64, 128]", "channels of the first convolution and of every group")
    widening_factor: int = option(1, "channels of every group are multiplied by it", least=1)
    kernel_size: int = option(11, "samples or frames of every convolution; odd", least=1)
    in_d: int = option(12, "leads", least=1)
    conv_bias: bool = option(False, "convolutions have a bias")
    ratio: int = option(8, "channels / width of squeeze-and-excitation", least=1)
    leadwise: bool = option(False, "the same filters on every lead alike; leads never mix")


class SEBlock(nn.Module):
    """Pre-activation block whose output channels are weighted by a look at their means.

    first: the network's first block, whose input is already normalised and activated.
    """

    def __init__(self, cfg: SEWRNConfig, in_dim: int, dim: int, stride: int, first: bool) -> None:
        super().__init__()
        self.stride = stride
        self.bn1 = None if first else batch_norm(cfg.leadwise, in_dim)
        self.conv1 = convolution(cfg.leadwise, in_dim, dim, cfg.kernel_size, stride, cfg.conv_bias)
        self.bn2 = batch_norm(cfg.leadwise, dim)
        self.dropout = nn.Dropout(BLOCK_DROPOUT)
        self.conv2 = convolution(cfg.leadwise, dim, dim, cfg.kernel_size, 1, cfg.conv_bias)
        self.fc1 = nn.Linear(dim, max(1, dim // cfg.ratio))
        self.fc2 = nn.Linear(max(1, dim // cfg.ratio), dim)
        changes = stride > 1 or in_dim != dim
        self.idfunc_1 = convolution(cfg.leadwise, in_dim, dim, 1, 1, cfg.conv_bias) if changes else None

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        after = strided(lengths, self.stride)
        y = x if self.bn1 is None else F.relu(self.bn1(x))
        y = F.relu(self.bn2(self.conv1(hide_padding(y, lengths))))
        y = self.conv2(hide_padding(self.dropout(y), after))
        y = y * self._channel_weights(y, after)
        if self.idfunc_1 is None:
            return x + y
        return self.idfunc_1(average_pool(x, self.stride, lengths)) + y

    def _channel_weights(self, y: Tensor, lengths: Tensor | None) -> Tensor:
        squeezed = average(y, lengths).movedim(1, -1)  # [batch, (leads,) channels]
        weights = torch.sigmoid(self.fc2(F.relu(self.fc1(squeezed))))
        return weights.movedim(-1, 1).unsqueeze(-1)


class SEGroup(nn.Module):
    def __init__(self, cfg: SEWRNConfig, in_dim: int, dim: int, first: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            SEBlock(cfg, dim if i else in_dim, dim, stride=1 if i else 2, first=first and i == 0)
            for i in range(cfg.num_blocks)
        )

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        for block in self.layers:
            x = block(x, lengths)
            lengths = strided(lengths, cast(SEBlock, block).stride)
        return x, lengths


@register_model("se_wrn", dataclass=SEWRNConfig)
class SEWRN(ResidualEncoder):
    """Source: Han et al. 2021, Towards High Generalization Performance on ECG Classification, CinC 2021."""

    cfg: SEWRNConfig
    encoder_name = "se_wrn"
    LEAD_MAJOR = True
    ARCHITECTURE: ClassVar[tuple[str, ...]] = (
        "num_blocks", "num_filters", "widening_factor", "kernel_size", "in_d", "conv_bias", "ratio", "leadwise",
    )  # fmt: skip

    def __init__(self, cfg: SEWRNConfig) -> None:
        super().__init__(cfg)
        check_leadwise(cfg.leadwise, cfg.in_d)
        check_odd(cfg.kernel_size, "model.kernel_size", 11)
        dims = group_dims(cfg)
        self.conv = convolution(cfg.leadwise, cfg.in_d, dims[0], cfg.kernel_size, 1, cfg.conv_bias)
        self.bn = batch_norm(cfg.leadwise, dims[0])
        self.groups = nn.ModuleList(
            SEGroup(cfg, before, dim, first=i == 0) for i, (before, dim) in enumerate(pairwise(dims))
        )

    @property
    def dim(self) -> int:
        return group_dims(self.cfg)[-1] * (len(LEADS) if self.cfg.leadwise else 1)

    def parts(self) -> list[tuple[str, ...]]:
        return [("conv", "bn"), *((f"groups.{group}",) for group in range(len(self.groups)))]

    def maps(self, x: Tensor, lengths: Tensor | None) -> list[Map]:
        x = F.relu(self.bn(self.conv(hide_padding(x, lengths))))
        maps = [(x, lengths)]
        for group in self.groups:
            x, lengths = group(x, lengths)
            maps.append((x, lengths))
        return maps

    def pool(self, features: Tensor, padding: Tensor | None) -> Tensor:
        return pool_maximum(features, padding)


def group_dims(cfg: SEWRNConfig) -> list[int]:
    """Channels of the first convolution, then of every group."""
    first, *groups = parse_numbers(cfg.num_filters, "model.num_filters", "[16, 16, 32, 64, 128]")
    return [first, *(dim * cfg.widening_factor for dim in groups)]
