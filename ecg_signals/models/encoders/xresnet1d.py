"""xresnet1d: the bag-of-tricks ResNet over time, PTB-XL's usual baseline, 18 to 152 layers deep.

He et al. 2019, Bag of Tricks for Image Classification, arXiv:1812.01187; for ECG as in Strodthoff et al. 2021, Deep
Learning for ECG Analysis: Benchmarks and Insights from PTB-XL, arXiv:2004.13701.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, cast

import torch.nn.functional as F
from torch import Tensor, nn

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.interop.ked.contract import inputs
from ecg_signals.models.encoders.residual import Map, ResidualEncoder
from ecg_signals.modules.centred_conv import average_pool, check_odd, conv_norm, max_pool, passed, strided
from ecg_signals.registry import register_model
from ecg_signals.signal.contract import SignalContract

DEPTHS = {  # layers -> blocks of every stage, and how much wider a block's output is than its inside
    18: ([2, 2, 2, 2], 1),
    34: ([3, 4, 6, 3], 1),
    50: ([3, 4, 6, 3], 4),
    101: ([3, 4, 23, 3], 4),
    152: ([3, 8, 36, 3], 4),
}
FULL_STAGES = 4  # stages behind them are half as wide


@dataclass
class XResNet1dConfig(BaseConfig):
    depth: int = option(50, "layers", choices=DEPTHS)
    blocks: list[int] | None = option(None, "blocks of every stage; null: as depth says", least=1)
    expansion: int | None = option(
        None, "width of a block's output over its inside; 1: blocks of two convolutions; null: as depth says", least=1
    )
    width: int = option(64, "channels inside the blocks of the first four stages; later ones have half", least=2)
    widths: list[int] | None = option(None, "the same of every stage by itself; null: as width says", least=1)
    stem: list[int] = option([32, 32, 64], "channels of the convolutions before the blocks", least=1)
    kernel_size: int = option(5, "frames of the blocks' middle convolutions; odd", least=1)
    stem_kernel_size: int = option(5, "samples or frames of the convolutions before the blocks; odd", least=1)
    stem_bias: bool = option(False, "the first convolution has a bias")
    in_d: int = option(12, "leads", least=1)

    @property
    def stages(self) -> list[int]:
        """Blocks of every stage."""
        return DEPTHS[self.depth][0] if self.blocks is None else self.blocks

    @property
    def factor(self) -> int:
        """Width of a block's output over its inside."""
        return self.expansion or DEPTHS[self.depth][1]

    @property
    def inner(self) -> list[int]:
        """Channels inside the blocks of every stage."""
        stages = len(self.stages)
        if self.widths is None:
            return [self.width if stage < FULL_STAGES else self.width // 2 for stage in range(stages)]
        if len(self.widths) != stages:
            raise ConfigError(f"model.widths={self.widths}; give one for each of the {stages} stages")
        return self.widths


class XResBlock(nn.Module):
    """Two convolutions, or three around a narrow middle, beside the input, averaged where they take strides."""

    def __init__(self, in_dim: int, width: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        dim, self.stride = width * expansion, stride
        basic = [(in_dim, width, kernel, stride), (width, dim, kernel, 1)]
        narrow = [(in_dim, width, 1, 1), (width, width, kernel, stride), (width, dim, 1, 1)]
        shapes = basic if expansion == 1 else narrow
        self.convs = nn.Sequential(*(conv_norm(*shape, act=shape is not shapes[-1]) for shape in shapes))
        self.idpath = conv_norm(in_dim, dim, 1, act=False) if in_dim != dim else None

    def forward(self, x: Tensor, lengths: Tensor | None) -> Map:
        y, after = passed(self.convs, x, lengths)
        x = average_pool(x, self.stride, lengths) if self.stride > 1 else x
        return F.relu((x if self.idpath is None else self.idpath(x)) + y), after


@register_model("xresnet1d", dataclass=XResNet1dConfig)
class XResNet1d(ResidualEncoder):
    cfg: XResNet1dConfig
    encoder_name = "xresnet1d"
    ARCHITECTURE: ClassVar[tuple[str, ...]] = (
        "depth", "blocks", "expansion", "width", "widths", "stem", "kernel_size", "stem_kernel_size", "stem_bias",
        "in_d",
    )  # fmt: skip

    def __init__(self, cfg: XResNet1dConfig) -> None:
        super().__init__(cfg)
        check_odd(cfg.kernel_size, "model.kernel_size", 5)
        check_odd(cfg.stem_kernel_size, "model.stem_kernel_size", 5)
        if not cfg.stem:
            raise ConfigError("model.stem=[]; give at least one number, such as model.stem=[64]")
        self.stem = nn.Sequential(
            *(
                conv_norm(before, dim, cfg.stem_kernel_size, 1 if i else 2, bias=cfg.stem_bias and i == 0)
                for i, (before, dim) in enumerate(pairwise([cfg.in_d, *cfg.stem]))
            )
        )
        self.stages = nn.ModuleList()
        dim = cfg.stem[-1]
        for stage, (blocks, width) in enumerate(zip(cfg.stages, cfg.inner)):
            self.stages.append(self._stage(dim, width, blocks, stride=2 if stage else 1))
            dim = width * cfg.factor
        self.width = dim

    def _stage(self, in_dim: int, width: int, blocks: int, stride: int) -> nn.ModuleList:
        factor, kernel = self.cfg.factor, self.cfg.kernel_size
        first = XResBlock(in_dim, width, factor, kernel, stride)
        return nn.ModuleList([first, *(XResBlock(width * factor, width, factor, kernel, 1) for _ in range(blocks - 1))])

    @classmethod
    def inputs(cls, cfg: Any) -> dict[str, SignalContract]:
        return inputs(cfg.in_d) if cfg.widths else {}  # KED's

    @property
    def dim(self) -> int:
        return self.width

    def parts(self) -> list[tuple[str, ...]]:
        blocks = [(f"stages.{i}.{j}",) for i, count in enumerate(self.cfg.stages) for j in range(count)]
        return [("stem",), *blocks]

    @property
    def early_parts(self) -> int:
        """The first convolutions and two stages."""
        return 1 + sum(self.cfg.stages[:2])

    def maps(self, x: Tensor, lengths: Tensor | None) -> list[Map]:
        x, lengths = passed(self.stem, x, lengths)
        x, lengths = max_pool(x, 3, 2, lengths), strided(lengths, 2)
        maps = [(x, lengths)]
        for stage in self.stages:
            for block in cast(Any, stage):
                x, lengths = block(x, lengths)
            maps.append((x, lengths))
        return maps
