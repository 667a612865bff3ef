"""net1d: stages of grouped convolutions with squeeze-and-excitation, activated by swish; ECGFounder's encoder.

Li et al. 2024, An Electrocardiogram Foundation Model Built on over 10 Million Recordings with External Evaluation
across Multiple Domains, arXiv:2410.04133.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.interop.ecgfounder.contract import ecgfounder, inputs
from ecg_signals.models.encoders.residual import Map, ResidualEncoder
from ecg_signals.modules.centred_conv import average, hide_padding, strided
from ecg_signals.registry import register_model
from ecg_signals.signal.contract import SignalContract

PARTS = ("bn1", "conv1", "bn2", "conv2", "bn3", "conv3", "se_fc1", "se_fc2")  # of a block


@dataclass
class Net1dConfig(BaseConfig):
    in_d: int = option(12, "leads; published with 12, and with 1: lead I", least=1)
    base_dim: int = option(64, "channels of the first convolution", least=1)
    dims: list[int] = option([64, 160, 160, 400, 400, 1024, 1024], "channels of every stage, none fewer than before it",
                             least=1)  # fmt: skip
    blocks: list[int] = option([2, 2, 2, 3, 3, 4, 4], "blocks of every stage", least=1)
    ratio: float = option(1.0, "channels inside a block over those it gives", above=0)
    kernel_size: int = option(16, "samples or frames of the first and of the blocks' middle convolutions", least=1)
    stride: int = option(2, "of the first convolution and of every stage's first block", least=1)
    group_width: int = option(16, "channels of every group of the middle convolutions, at least", least=1)
    batch_norm: bool = option(False, "normalise before every activation; without it the norms have weights and no part")

    def __post_init__(self) -> None:
        if not 0 < len(self.dims) == len(self.blocks):
            raise ConfigError(
                f"model.dims={self.dims} and model.blocks={self.blocks}; give both as many numbers as there are stages"
            )
        shrinks = any(dim < before for before, dim in pairwise([self.base_dim, *self.dims]))
        if shrinks or any(not self.groups(dim) or self.inside(dim) % self.groups(dim) for dim in self.dims):
            raise ConfigError(
                f"model.base_dim={self.base_dim}, model.dims={self.dims} with model.ratio={self.ratio} and "
                f"model.group_width={self.group_width}: stages must not become narrower, and groups of that width or "
                f"more divide the channels inside a block evenly"
            )

    def inside(self, dim: int) -> int:
        """Channels inside a block that gives `dim`."""
        return int(dim * self.ratio)

    def groups(self, dim: int) -> int:
        """Groups of the middle convolution of such a block."""
        return self.inside(dim) // self.group_width


class SameConv(nn.Conv1d):
    """A convolution with ceil(frames / stride) frames: zeros on both sides, of an odd number one more behind.

    Of items of several lengths the frames are those of each alone wherever kernel_size - stride is even.
    """

    def forward(self, x: Tensor) -> Tensor:
        (kernel,), (stride,), frames = self.kernel_size, self.stride, x.shape[-1]
        most = (-(-frames // stride) - 1) * stride + kernel - frames
        missing = most if most > 0 else 0
        return super().forward(F.pad(x, (missing // 2, missing - missing // 2)))


class Net1dBlock(nn.Module):
    """Pre-activation block: 1x1, grouped, 1x1, then every channel weighted by a look at all means.

    first: the network's first block, whose input is neither normalised nor activated.
    """

    def __init__(self, cfg: Net1dConfig, in_dim: int, dim: int, stride: int, first: bool) -> None:
        super().__init__()
        inside = cfg.inside(dim)
        self.stride, self.more, self.first, self.normed = stride, dim - in_dim, first, cfg.batch_norm
        self.bn1 = nn.BatchNorm1d(in_dim)
        self.conv1 = SameConv(in_dim, inside, 1)
        self.bn2 = nn.BatchNorm1d(inside)
        self.conv2 = SameConv(inside, inside, cfg.kernel_size, stride, groups=cfg.groups(dim))
        self.bn3 = nn.BatchNorm1d(inside)
        self.conv3 = SameConv(inside, dim, 1)
        self.se_fc1 = nn.Linear(dim, dim // 2)
        self.se_fc2 = nn.Linear(dim // 2, dim)

    @property
    def idle(self) -> list[str]:
        """Its norms without a part in the forward pass."""
        norms = [name for name in PARTS if name.startswith("bn")]
        return norms[: int(self.first)] if self.normed else norms

    def forward(self, x: Tensor, lengths: Tensor | None) -> Map:
        after = strided(lengths, self.stride)
        y = x if self.first else self.activated(self.bn1, x)
        y = self.activated(self.bn2, self.conv1(hide_padding(y, lengths)))
        y = self.activated(self.bn3, self.conv2(hide_padding(y, lengths)))
        y = self.conv3(y)
        weights = torch.sigmoid(self.se_fc2(F.silu(self.se_fc1(average(y, after)))))
        return y * weights[..., None] + self.beside(hide_padding(x, lengths)), after

    def activated(self, norm: nn.Module, x: Tensor) -> Tensor:
        return F.silu(norm(x) if self.normed else x)

    def beside(self, x: Tensor) -> Tensor:
        """The input with the output's shape: largest of `stride` frames, zeros for channels that are more."""
        if self.stride > 1:
            before = (self.stride - 1) // 2
            x = F.max_pool1d(F.pad(x, (before, self.stride - 1 - before)), self.stride)
        return F.pad(x, (0, 0, self.more // 2, self.more - self.more // 2)) if self.more else x


@register_model("net1d", dataclass=Net1dConfig)
class Net1d(ResidualEncoder):
    cfg: Net1dConfig
    encoder_name = "net1d"
    ARCHITECTURE: ClassVar[tuple[str, ...]] = (
        "in_d", "base_dim", "dims", "blocks", "ratio", "kernel_size", "stride", "group_width", "batch_norm",
    )  # fmt: skip

    def __init__(self, cfg: Net1dConfig) -> None:
        super().__init__(cfg)
        self.first_conv = SameConv(cfg.in_d, cfg.base_dim, cfg.kernel_size, cfg.stride)
        self.first_bn = nn.BatchNorm1d(cfg.base_dim)
        self.stages = nn.ModuleList()
        for stage, (before, dim) in enumerate(pairwise([cfg.base_dim, *cfg.dims])):
            shapes = [(before, dim, cfg.stride), *[(dim, dim, 1)] * (cfg.blocks[stage] - 1)]
            self.stages.append(
                nn.ModuleList(Net1dBlock(cfg, *shape, first=not (stage or i)) for i, shape in enumerate(shapes))
            )
        trained = {name for names in self.parts() for name in names}
        for name, module in self.named_modules():
            if isinstance(module, nn.BatchNorm1d) and name not in trained:
                module.requires_grad_(False)

    @classmethod
    def usual_input(cls) -> SignalContract:
        return ecgfounder()

    @classmethod
    def inputs(cls, cfg: Any) -> dict[str, SignalContract]:
        return inputs(cfg.in_d)

    @property
    def dim(self) -> int:
        return self.cfg.dims[-1]

    def parts(self) -> list[tuple[str, ...]]:
        """The first convolution, then every stage."""
        stages = [
            tuple(
                f"stages.{stage}.{place}.{name}"
                for place, block in enumerate(cast(Any, blocks))
                for name in PARTS
                if name not in block.idle
            )
            for stage, blocks in enumerate(self.stages)
        ]
        return [("first_conv", *(["first_bn"] if self.cfg.batch_norm else [])), *stages]

    def maps(self, x: Tensor, lengths: Tensor | None) -> list[Map]:
        x, lengths = self.first_conv(hide_padding(x, lengths)), strided(lengths, self.cfg.stride)
        x = F.silu(self.first_bn(x) if self.cfg.batch_norm else x)
        maps = [(x, lengths)]
        for stage in self.stages:
            for block in cast(Any, stage):
                x, lengths = block(x, lengths)
            maps.append((x, lengths))
        return maps
