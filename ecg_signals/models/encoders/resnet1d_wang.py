"""resnet1d_wang: three residual blocks at full width, without pooling before them.

Wang et al. 2017, Time Series Classification from Scratch, arXiv:1611.06455; for ECG as in Strodthoff et al. 2021, Deep
Learning for ECG Analysis: Benchmarks and Insights from PTB-XL, arXiv:2004.13701.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch.nn.functional as F
from torch import Tensor, nn

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.models.encoders.residual import Map, ResidualEncoder
from ecg_signals.modules.centred_conv import check_odd, conv_norm, passed
from ecg_signals.registry import register_model

LATER = 3  # frames of both convolutions in all blocks of a stage but the first


@dataclass
class ResNet1dWangConfig(BaseConfig):
    blocks: list[int] = option([1, 1, 1], "blocks of every stage; from the second stage on frames are halved", least=1)
    width: int = option(128, "channels, of all convolutions", least=1)
    kernel_size: list[int] = option([5, 3], "frames of the two convolutions of a stage's first block; odd", least=1)
    stem_kernel_size: int = option(7, "samples of the convolution before the blocks; odd", least=1)
    in_d: int = option(12, "leads", least=1)


class BasicBlock(nn.Module):
    def __init__(self, dim: int, kernels: list[int], stride: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(conv_norm(dim, dim, kernels[0], stride), conv_norm(dim, dim, kernels[1], act=False))
        self.downsample = conv_norm(dim, dim, 1, stride, act=False) if stride > 1 else None

    def forward(self, x: Tensor, lengths: Tensor | None) -> Map:
        y, after = passed(self.convs, x, lengths)
        return F.relu((x if self.downsample is None else self.downsample(x)) + y), after


@register_model("resnet1d_wang", dataclass=ResNet1dWangConfig)
class ResNet1dWang(ResidualEncoder):
    cfg: ResNet1dWangConfig
    encoder_name = "resnet1d_wang"
    ARCHITECTURE: ClassVar[tuple[str, ...]] = ("blocks", "width", "kernel_size", "stem_kernel_size", "in_d")

    def __init__(self, cfg: ResNet1dWangConfig) -> None:
        super().__init__(cfg)
        if len(cfg.kernel_size) != 2:
            raise ConfigError(f"model.kernel_size={cfg.kernel_size}; set two numbers, such as model.kernel_size=[5,3]")
        if not all(kernel % 2 for kernel in cfg.kernel_size):
            raise ConfigError(f"model.kernel_size={cfg.kernel_size}; both must be odd, such as model.kernel_size=[5,3]")
        check_odd(cfg.stem_kernel_size, "model.stem_kernel_size", 7)
        self.stem = conv_norm(cfg.in_d, cfg.width, cfg.stem_kernel_size)
        self.stages = nn.ModuleList(
            nn.ModuleList(
                BasicBlock(cfg.width, [LATER, LATER] if block else cfg.kernel_size, 2 if stage and not block else 1)
                for block in range(blocks)
            )
            for stage, blocks in enumerate(cfg.blocks)
        )

    @property
    def dim(self) -> int:
        return self.cfg.width

    def parts(self) -> list[tuple[str, ...]]:
        blocks = [(f"stages.{i}.{j}",) for i, count in enumerate(self.cfg.blocks) for j in range(count)]
        return [("stem",), *blocks]

    def maps(self, x: Tensor, lengths: Tensor | None) -> list[Map]:
        maps = [passed([self.stem], x, lengths)]
        for stage in self.stages:
            for block in cast(Any, stage):
                maps.append(block(*maps[-1]))
        return maps
