"""fc_lstm: layers on single samples, or short convolutions, then a recurrent network or S4 over the frames.

4FC+2LSTM+2FC of Mehari and Strodthoff 2022, Self-supervised representation learning from 12-lead ECG data,
arXiv:2103.12676, whose pretraining is `cpc`; with S4 as in their arXiv:2211.07579, and as in ECG-CPC of Al-Masud et al.
2025, Benchmarking ECG Foundational Models, arXiv:2509.25095.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

from torch import Tensor, nn

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.interop.ecg_cpc.contract import inputs
from ecg_signals.models.base import BaseModel, ModelOutput
from ecg_signals.models.encoders.residual import check_leads
from ecg_signals.modules.centred_conv import conv_norm, hide_padding, lengths_of, padding_of, passed
from ecg_signals.modules.pooling import pool_frames
from ecg_signals.modules.recurrent import CELLS, recurrent, unroll
from ecg_signals.modules.s4 import S4Stack, check_even
from ecg_signals.registry import register_model
from ecg_signals.signal.contract import SignalContract


@dataclass
class FcLstmConfig(BaseConfig):
    in_d: int = option(12, "leads", least=1)
    conv_dim: list[int] = option([512] * 4, "channels of every layer on samples", least=1)
    conv_kernel: list[int] = option([1] * 4, "samples or frames that each sees; the conv variant: [10,4,4,4]", least=1)
    conv_stride: list[int] = option([1] * 4, "its stride; the conv variant: [2,2,2,2]", least=1)
    context: str = option("lstm", "what reads the frames, in one direction", choices=(*CELLS, "s4"))
    hidden_dim: int = option(512, "width of its layers", least=1)
    num_layers: int = option(2, "their number; published with s4: 4", least=1)
    state_dim: int = option(8, "context=s4: values of the state of every dimension; even", least=2)
    dropout: float = option(0.2, "context=s4: of whole dimensions, in every layer and behind it", least=0, most=1)
    frames: int = option(1024, "context=s4: frames for which weights are stored; any input may be longer", least=2)
    context_proj: bool = option(True, "context=s4: a linear layer before it; ECG-CPC has none")

    def __post_init__(self) -> None:
        check_even(self.state_dim)
        if not 0 < len(self.conv_dim) == len(self.conv_kernel) == len(self.conv_stride):
            raise ConfigError(
                f"model.conv_dim={self.conv_dim}, model.conv_kernel={self.conv_kernel} and model.conv_stride="
                f"{self.conv_stride}: give each as many numbers as there are layers, at least one"
            )
        if self.is_ecg_cpc and self.conv_dim[-1] != self.hidden_dim:
            raise ConfigError(f"model.context_proj=false needs model.hidden_dim={self.conv_dim[-1]}, as conv_dim ends")

    @property
    def is_ecg_cpc(self) -> bool:
        """Whether it has the form of ECG-CPC's files."""
        return self.context == "s4" and not self.context_proj


@register_model("fc_lstm", dataclass=FcLstmConfig)
class FcLstm(BaseModel):
    cfg: FcLstmConfig
    encoder_name = "fc_lstm"
    ARCHITECTURE: ClassVar[tuple[str, ...]] = (
        "in_d", "conv_dim", "conv_kernel", "conv_stride", "context", "hidden_dim", "num_layers", "state_dim", "frames",
        "context_proj",
    )  # fmt: skip

    def __init__(self, cfg: FcLstmConfig) -> None:
        super().__init__(cfg)
        shapes = zip(pairwise([cfg.in_d, *cfg.conv_dim]), cfg.conv_kernel, cfg.conv_stride)
        self.layers = nn.Sequential(*(conv_norm(*dims, kernel, stride) for dims, kernel, stride in shapes))
        self.context = self._context(cfg)

    def _context(self, cfg: FcLstmConfig) -> nn.Module:
        if cfg.context != "s4":
            return recurrent(cfg.context, cfg.conv_dim[-1], cfg.hidden_dim, cfg.num_layers)
        return S4Stack(cfg.conv_dim[-1], cfg.hidden_dim, cfg.num_layers, cfg.state_dim, cfg.frames, False, cfg.dropout,
                       cfg.context_proj)  # fmt: skip

    @classmethod
    def inputs(cls, cfg: Any) -> dict[str, SignalContract]:
        return inputs(cfg.in_d) if cfg.is_ecg_cpc else {}

    @property
    def dim(self) -> int:
        return self.cfg.hidden_dim

    def parts(self) -> list[tuple[str, ...]]:
        """Two: with layer_decay=0.1 rates are 0.01, 0.1 and, of the head, 1 of the run's, as published."""
        return [("layers",), ("context",)]

    def forward(self, source: Tensor, padding_mask: Tensor | None = None) -> ModelOutput:
        """source [batch, leads, samples] -> features [batch, frames, dim] and their mean, `pooled`."""
        return self.extract_features(source, padding_mask)

    def extract_features(
        self, source: Tensor, padding_mask: Tensor | None = None, layers: str | None = None
    ) -> ModelOutput:
        """layers="all" adds `hidden_states`: the input of every part and the last one's output."""
        encoded, lengths = self.encoded(source, padding_mask)
        features = self.in_context(encoded, lengths)
        padding = padding_of(lengths, features.shape[1])
        output = ModelOutput(features=features, pooled=pool_frames(features, padding), padding_mask=padding)
        if layers == "all":
            output["hidden_states"] = [source.transpose(1, 2), encoded, features]
        return output

    def encoded(self, source: Tensor, padding_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Frames before the context [batch, frames, conv_dim[-1]], and how many of each are not padding."""
        check_leads(source, self.cfg.in_d, f"model.in_d to {source.shape[1]}")
        x, lengths = passed(self.layers, source, lengths_of(padding_mask))
        return hide_padding(x, lengths).transpose(1, 2), lengths

    def in_context(self, encoded: Tensor, lengths: Tensor | None) -> Tensor:
        """[batch, frames, dim], each frame with what came before it."""
        context: Any = self.context
        if isinstance(context, S4Stack):
            return context(encoded, lengths)[-1]
        return unroll(context, encoded, padding_of(lengths, encoded.shape[1]))
