"""inception1d: parallel convolutions of three lengths, six times, with two shortcuts.

Ismail Fawaz et al. 2020, InceptionTime, arXiv:1909.04939; for ECG as in Strodthoff et al. 2021, Deep Learning for ECG
Analysis: Benchmarks and Insights from PTB-XL, arXiv:2004.13701.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecg_signals.config import BaseConfig, option
from ecg_signals.models.encoders.residual import Map, ResidualEncoder
from ecg_signals.modules.centred_conv import conv1d, hide_padding, max_pool
from ecg_signals.registry import register_model

LENGTHS = 3  # of convolutions in a block, each half as long as the one before
EVERY = 3  # blocks between shortcuts


@dataclass
class Inception1dConfig(BaseConfig):
    depth: int = option(6, "blocks", least=1)
    kernel_size: int = option(
        40, "frames of a block's longest convolution; the others have 1/2 and 1/4, an even number one less", least=4
    )
    filters: int = option(32, "channels of each of a block's four branches", least=1)
    bottleneck: int = option(32, "channels of the convolution of one frame before the longer ones; 0: none", least=0)
    residual: bool = option(True, "every third block adds the input of the first of the three")
    in_d: int = option(12, "leads", least=1)


class InceptionBlock(nn.Module):
    def __init__(self, cfg: Inception1dConfig, in_dim: int) -> None:
        super().__init__()
        self.bottleneck = conv1d(in_dim, cfg.bottleneck, 1) if cfg.bottleneck else nn.Identity()
        kernels = [cfg.kernel_size // 2**half for half in range(LENGTHS)]
        self.convs = nn.ModuleList(
            conv1d(cfg.bottleneck or in_dim, cfg.filters, kernel - (kernel % 2 == 0)) for kernel in kernels
        )
        self.conv_bottle = conv1d(in_dim, cfg.filters, 1)
        self.norm = nn.BatchNorm1d((LENGTHS + 1) * cfg.filters)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        narrow = self.bottleneck(hide_padding(x, lengths))  # no bias: padding stays 0
        branches = [*(conv(narrow) for conv in self.convs), self.conv_bottle(max_pool(x, 3, 1, lengths))]
        return F.relu(self.norm(torch.cat(branches, dim=1)))


@register_model("inception1d", dataclass=Inception1dConfig)
class Inception1d(ResidualEncoder):
    cfg: Inception1dConfig
    encoder_name = "inception1d"
    ARCHITECTURE: ClassVar[tuple[str, ...]] = ("depth", "kernel_size", "filters", "bottleneck", "residual", "in_d")

    def __init__(self, cfg: Inception1dConfig) -> None:
        super().__init__(cfg)
        self.blocks = nn.ModuleList(InceptionBlock(cfg, self.dim if i else cfg.in_d) for i in range(cfg.depth))
        shortcuts = cfg.depth // EVERY if cfg.residual else 0
        self.shortcuts = nn.ModuleList(
            nn.Sequential(conv1d(self.dim if i else cfg.in_d, self.dim, 1), nn.BatchNorm1d(self.dim))
            for i in range(shortcuts)
        )

    @property
    def dim(self) -> int:
        return (LENGTHS + 1) * self.cfg.filters

    def parts(self) -> list[tuple[str, ...]]:
        """A shortcut belongs to the block that it ends behind."""
        parts: list[tuple[str, ...]] = [(f"blocks.{block}",) for block in range(self.cfg.depth)]
        for number in range(len(self.shortcuts)):
            parts[number * EVERY + EVERY - 1] += (f"shortcuts.{number}",)
        return parts

    def maps(self, x: Tensor, lengths: Tensor | None) -> list[Map]:
        maps: list[Map] = []
        before = x
        for number, block in enumerate(self.blocks):
            x = block(x, lengths)
            if number % EVERY == EVERY - 1 and self.cfg.residual:
                before = x = F.relu(x + self.shortcuts[number // EVERY](before))
            maps.append((x, lengths))
        return maps
