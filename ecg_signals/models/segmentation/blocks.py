"""What the U-Nets share: blocks, the way down, and features of every sample."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn
from torch.nn import functional as F

from ecg_signals.config import ConfigError, option
from ecg_signals.models.base import BaseModel, ModelOutput
from ecg_signals.models.encoders.ecg_transformer import ModelConfig
from ecg_signals.models.encoders.residual import check_leads
from ecg_signals.modules.centred_conv import check_odd, hide_padding, lengths_of, padding_of
from ecg_signals.modules.pooling import pool_frames

LEVELS = 4  # poolings; the deepest map has a frame for 16 samples


@dataclass
class UNetConfig(ModelConfig):
    in_d: int = option(1, "leads that the model sees together", least=1)
    initial_dim: int = option(32, "channels of the first block; every block below has twice as many", least=1)
    kernel_size: int = option(9, "samples or frames of every convolution; odd", least=3)
    conv_bias: bool = option(False, "convolutions have a bias")
    dropout: float = option(0.2, "chance of losing a channel, behind every convolution", least=0, most=1)


class ConvNormAct(nn.Module):
    """Convolution, batch norm, GELU, dropout of whole channels."""

    def __init__(self, cfg: UNetConfig, in_dim: int, dim: int) -> None:
        super().__init__()
        self.conv = bare_conv(cfg, in_dim, dim)
        self.bn = nn.BatchNorm1d(dim)
        self.dropout = nn.Dropout1d(cfg.dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(F.gelu(self.bn(self.conv(x))))


class TwoConvs(nn.Module):
    def __init__(self, cfg: UNetConfig, in_dim: int, dim: int) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(cfg, in_dim, dim)
        self.conv2 = ConvNormAct(cfg, dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x))


def bare_conv(cfg: UNetConfig, in_dim: int, dim: int) -> nn.Conv1d:
    return nn.Conv1d(in_dim, dim, cfg.kernel_size, padding=cfg.kernel_size // 2, bias=cfg.conv_bias)


def level_dims(cfg: UNetConfig) -> list[int]:
    """Channels of the maps on the way down, the last one in the middle."""
    return [cfg.initial_dim * 2**level for level in range(LEVELS + 1)]


class UNetEncoder(BaseModel):
    """A way down, a middle, and a way up that a class defines by `make_up` and `way_up`.

    Padded samples are zero at the input, as published; the features of the samples beside them see that.
    """

    cfg: UNetConfig

    def __init__(self, cfg: UNetConfig) -> None:
        super().__init__(cfg)
        check_odd(cfg.kernel_size, "model.kernel_size", 9)
        dims = level_dims(cfg)
        for level, (in_dim, dim) in enumerate(zip([cfg.in_d, *dims], dims[:LEVELS]), start=1):
            self.add_module(f"down{level}", TwoConvs(cfg, in_dim, dim))
        self.middle = nn.Sequential(ConvNormAct(cfg, dims[-2], dims[-1]), ConvNormAct(cfg, dims[-1], dims[-1]))
        self.make_up(dims)

    @abstractmethod
    def make_up(self, dims: list[int]) -> None:
        """Add `up4` to `up1`."""

    @abstractmethod
    def way_up(self, maps: list[Tensor]) -> Tensor:
        """Maps of the way down, the middle last -> [batch, dim, samples]."""

    def block(self, name: str) -> Any:
        return cast(nn.Module, self.get_submodule(name))

    def parts(self) -> list[tuple[str, ...]]:
        order = [*(f"down{level}" for level in range(1, LEVELS + 1)), "middle"]
        return [(name,) for name in [*order, *(f"up{level}" for level in range(LEVELS, 0, -1))]]

    def forward(self, source: Tensor, padding_mask: Tensor | None = None) -> ModelOutput:
        """source [batch, leads, samples], mV -> features [batch, samples, dim], and `maps` of the way down."""
        check_leads(source, self.cfg.in_d, f"model.in_d to {source.shape[1]}")
        if source.shape[-1] < 2**LEVELS:
            raise ConfigError(f"source has {source.shape[-1]} samples; the model takes {2**LEVELS} or more")
        lengths = lengths_of(padding_mask)
        x, maps = hide_padding(source, lengths), list[Tensor]()
        for level in range(1, LEVELS + 1):
            maps.append(self.block(f"down{level}")(x))
            x = F.max_pool1d(maps[-1], 2)
        maps.append(self.middle(x))
        padding = padding_of(lengths, source.shape[-1])
        features = hide_padding(self.way_up(maps), lengths).transpose(1, 2)  # [batch, samples, dim]
        return ModelOutput(features=features, pooled=pool_frames(features, padding), padding_mask=padding, maps=maps)

    def extract_features(
        self, source: Tensor, padding_mask: Tensor | None = None, layers: str | None = None
    ) -> ModelOutput:
        """layers="all" adds `hidden_states`: the input, the maps of the way down and the middle, the features."""
        output: ModelOutput = self(source, padding_mask)
        if layers == "all":
            maps = [part.transpose(1, 2) for part in (source, *output["maps"])]
            output["hidden_states"] = [*maps, output["features"]]
        return output
