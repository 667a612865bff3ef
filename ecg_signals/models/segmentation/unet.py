"""The U-Net over time: a way down, a way up, and a map across at every level."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecg_signals.models.segmentation.blocks import LEVELS, ConvNormAct, UNetConfig, UNetEncoder
from ecg_signals.registry import register_model


class UpBlock(nn.Module):
    """Twice as many frames, beside the map of the way down with so many."""

    def __init__(self, cfg: UNetConfig, in_dim: int, dim: int) -> None:
        super().__init__()
        kernel = cfg.kernel_size - 1
        self.up = nn.ConvTranspose1d(in_dim, in_dim, kernel, stride=2, padding=kernel // 2 - 1)
        self.conv1 = ConvNormAct(cfg, in_dim + dim, dim)
        self.conv2 = ConvNormAct(cfg, dim, dim)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.up(x)
        x = F.pad(x, (0, skip.shape[-1] - x.shape[-1]))  # pooling drops the last of an odd number of frames
        return self.conv2(self.conv1(torch.cat([x, skip], dim=1)))


@register_model("unet", dataclass=UNetConfig)
class UNet(UNetEncoder):
    """Source: Ronneberger et al. 2015, U-Net, arXiv:1505.04597, over time instead of an image."""

    encoder_name = "unet"

    @property
    def dim(self) -> int:
        return self.cfg.initial_dim

    def make_up(self, dims: list[int]) -> None:
        for level in range(LEVELS, 0, -1):
            self.add_module(f"up{level}", UpBlock(self.cfg, dims[level], dims[level - 1]))

    def way_up(self, maps: list[Tensor]) -> Tensor:
        x = maps[-1]
        for level in range(LEVELS, 0, -1):
            x = self.block(f"up{level}")(x, maps[level - 1])
        return x
