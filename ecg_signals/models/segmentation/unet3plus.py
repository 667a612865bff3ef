"""UNet3+ over time: every level of the way up sees all maps of the way down, and those above it."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecg_signals.models.segmentation.blocks import LEVELS, ConvNormAct, UNetConfig, UNetEncoder, bare_conv
from ecg_signals.registry import register_model


class FullScaleBlock(nn.Module):
    """All maps of the way down and those above, brought to one length and width, beside each other."""

    def __init__(self, cfg: UNetConfig, in_dims: list[int]) -> None:
        super().__init__()
        for place, in_dim in enumerate(in_dims, start=1):
            self.add_module(f"conv{place}", bare_conv(cfg, in_dim, cfg.initial_dim))
        width = cfg.initial_dim * len(in_dims)
        self.aggregate = ConvNormAct(cfg, width, width)

    def forward(self, maps: list[Tensor]) -> Tensor:
        found = [self.get_submodule(f"conv{place}")(x) for place, x in enumerate(maps, start=1)]
        return self.aggregate(torch.cat(found, dim=1))


@register_model("unet3plus", dataclass=UNetConfig)
class UNet3Plus(UNetEncoder):
    """Source: Huang et al. 2020, UNet 3+: A Full-Scale Connected UNet, arXiv:2004.08790."""

    encoder_name = "unet3plus"

    @property
    def dim(self) -> int:
        return self.cfg.initial_dim * (LEVELS + 1)

    def make_up(self, dims: list[int]) -> None:
        for level in range(LEVELS, 0, -1):
            above = [self.dim] * (LEVELS - level)
            self.add_module(f"up{level}", FullScaleBlock(self.cfg, [*dims[:level], *above, dims[-1]]))

    def way_up(self, maps: list[Tensor]) -> Tensor:
        found = list(maps)  # a map of the way up takes the place of that of the way down
        for level in range(LEVELS, 0, -1):
            own = maps[level - 1]
            shallower = [F.max_pool1d(maps[other], 2 ** (level - 1 - other)) for other in range(level - 1)]
            deeper = [F.interpolate(x, own.shape[-1], mode="linear", align_corners=False) for x in found[level:]]
            found[level - 1] = self.block(f"up{level}")([*shallower, own, *deeper])
        return found[0]
