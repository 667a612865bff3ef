"""merl_resnet: a residual network over time without a pool behind its first convolution, 18 to 101 layers deep.

Liu et al. 2024, Zero-Shot ECG Classification with Multimodal Learning and Test-time Clinical Knowledge Enhancement,
arXiv:2403.06659.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch.nn.functional as F
from torch import Tensor, nn

from ecg_signals.config import BaseConfig, option
from ecg_signals.interop.merl.contract import inputs, merl
from ecg_signals.models.encoders.residual import Map, ResidualEncoder
from ecg_signals.modules.centred_conv import conv_norm, hide_padding, passed
from ecg_signals.registry import register_model
from ecg_signals.signal.contract import SignalContract

DEPTHS = {  # layers -> blocks of every stage, and how much wider a block's output is than its inside
    18: ([2, 2, 2, 2], 1),
    34: ([3, 4, 6, 3], 1),
    50: ([3, 4, 6, 3], 4),
    101: ([3, 4, 23, 3], 4),
}


@dataclass
class MerlResnetConfig(BaseConfig):
    depth: int = option(18, "layers", choices=DEPTHS)
    width: int = option(64, "channels inside the blocks of the first stage, doubled in every further one", least=1)
    in_d: int = option(12, "leads", least=1)
    unused_classes: int = option(10, "rows of a last layer that files hold and nothing reads; 0: none", least=0)


class MerlBlock(nn.Module):
    """Two convolutions, or three around a narrow middle, beside the input, or its projection where shapes differ."""

    def __init__(self, in_dim: int, width: int, expansion: int, stride: int) -> None:
        super().__init__()
        dim = width * expansion
        basic = [(in_dim, width, 3, stride), (width, dim, 3, 1)]
        narrow = [(in_dim, width, 1, 1), (width, width, 3, stride), (width, dim, 1, 1)]
        shapes = basic if expansion == 1 else narrow
        self.convs = nn.Sequential(*(conv_norm(*shape, act=shape is not shapes[-1]) for shape in shapes))
        differs = stride > 1 or in_dim != dim
        self.shortcut = conv_norm(in_dim, dim, 1, stride, act=False) if differs else None

    def forward(self, x: Tensor, lengths: Tensor | None) -> Map:
        y, after = passed(self.convs, x, lengths)
        return F.relu(y + (x if self.shortcut is None else self.shortcut(hide_padding(x, lengths)))), after


@register_model("merl_resnet", dataclass=MerlResnetConfig)
class MerlResnet(ResidualEncoder):
    cfg: MerlResnetConfig
    encoder_name = "merl_resnet"
    ARCHITECTURE: ClassVar[tuple[str, ...]] = ("depth", "width", "in_d", "unused_classes")

    def __init__(self, cfg: MerlResnetConfig) -> None:
        super().__init__(cfg)
        self.stem = conv_norm(cfg.in_d, cfg.width, 7, 2)
        blocks, expansion = DEPTHS[cfg.depth]
        self.stages, dim = nn.ModuleList(), cfg.width
        for stage, count in enumerate(blocks):
            made, width = nn.ModuleList(), cfg.width << stage
            for block in range(count):
                made.append(MerlBlock(dim, width, expansion, 2 if stage and not block else 1))
                dim = width * expansion
            self.stages.append(made)
        self.linear = nn.Linear(dim, cfg.unused_classes).requires_grad_(False) if cfg.unused_classes else None

    @classmethod
    def usual_input(cls) -> SignalContract:
        return merl()

    @classmethod
    def inputs(cls, cfg: Any) -> dict[str, SignalContract]:
        return inputs(cfg.in_d)

    @property
    def dim(self) -> int:
        return (self.cfg.width << 3) * DEPTHS[self.cfg.depth][1]

    def parts(self) -> list[tuple[str, ...]]:
        """The first convolution, then every block; the last layer, which nothing reads, is none of them."""
        blocks = DEPTHS[self.cfg.depth][0]
        return [("stem",), *((f"stages.{i}.{j}",) for i, count in enumerate(blocks) for j in range(count))]

    @property
    def early_parts(self) -> int:
        """The first convolution and two stages."""
        return 1 + sum(DEPTHS[self.cfg.depth][0][:2])

    def maps(self, x: Tensor, lengths: Tensor | None) -> list[Map]:
        x, lengths = passed([self.stem], x, lengths)
        maps = [(x, lengths)]
        for stage in self.stages:
            for block in cast(Any, stage):
                x, lengths = block(x, lengths)
            maps.append((x, lengths))
        return maps
