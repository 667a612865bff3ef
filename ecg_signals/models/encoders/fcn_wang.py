"""fcn_wang: three wide convolutions over time that keep (nearly) every sample.

Wang et al. 2017, Time Series Classification from Scratch, arXiv:1611.06455; for ECG as in Strodthoff et al. 2021, Deep
Learning for ECG Analysis: Benchmarks and Insights from PTB-XL, arXiv:2004.13701.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from torch import Tensor, nn

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.models.encoders.residual import Map, ResidualEncoder
from ecg_signals.modules.centred_conv import conv_norm, passed
from ecg_signals.registry import register_model


@dataclass
class FCNWangConfig(BaseConfig):
    filters: list[int] = option([128, 256, 128], "channels of every convolution", least=1)
    kernel_size: list[int] = option(
        [8, 5, 3], "samples or frames of every convolution; an even number gives one frame less", least=1
    )
    stride: int = option(1, "samples or frames from one frame of a convolution to the next", least=1)
    in_d: int = option(12, "leads", least=1)


@register_model("fcn_wang", dataclass=FCNWangConfig)
class FCNWang(ResidualEncoder):
    cfg: FCNWangConfig
    encoder_name = "fcn_wang"
    ARCHITECTURE: ClassVar[tuple[str, ...]] = ("filters", "kernel_size", "stride", "in_d")

    def __init__(self, cfg: FCNWangConfig) -> None:
        super().__init__(cfg)
        if not 0 < len(cfg.filters) == len(cfg.kernel_size):
            raise ConfigError(
                f"model.filters={cfg.filters} and model.kernel_size={cfg.kernel_size}: give one kernel for each of "
                f"the convolutions, at least one"
            )
        shapes = zip(pairwise([cfg.in_d, *cfg.filters]), cfg.kernel_size)
        self.layers = nn.Sequential(*(conv_norm(*dims, kernel, cfg.stride) for dims, kernel in shapes))

    @property
    def dim(self) -> int:
        return self.cfg.filters[-1]

    def parts(self) -> list[tuple[str, ...]]:
        return [(f"layers.{layer}",) for layer in range(len(self.layers))]

    def maps(self, x: Tensor, lengths: Tensor | None) -> list[Map]:
        maps: list[Map] = [(x, lengths)]
        for layer in self.layers:
            maps.append(passed([layer], *maps[-1]))
        return maps[1:]
