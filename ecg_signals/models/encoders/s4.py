"""s4: four layers of structured state spaces over samples, each a convolution as long as the record.

Gu et al. 2022, arXiv:2111.00396; for ECG as in Mehari and Strodthoff 2022, Advancing the State-of-the-Art for ECG
Analysis through Structured State Space Models, arXiv:2211.07579.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ecg_signals.config import BaseConfig, option
from ecg_signals.models.base import BaseModel, ModelOutput
from ecg_signals.models.encoders.residual import check_leads
from ecg_signals.modules.centred_conv import lengths_of, padding_of
from ecg_signals.modules.pooling import pool_frames
from ecg_signals.modules.s4 import S4Stack, check_even
from ecg_signals.registry import register_model


@dataclass
class S4Config(BaseConfig):
    in_d: int = option(12, "leads", least=1)
    hidden_dim: int = option(512, "width of a frame", least=1)
    num_layers: int = option(4, "layers", least=1)
    state_dim: int = option(8, "values of the state of every dimension; even", least=2)
    bidirectional: bool = option(True, "a second response of every dimension reaches backwards in time")
    dropout: float = option(0.2, "of whole dimensions, in every layer and behind it", least=0, most=1)
    frames: int = option(250, "samples for which weights are stored; any input may be shorter or longer", least=2)
    rate: float = option(1.0, "sampling rate of the data it was trained on, over that of its input now", above=0)

    def __post_init__(self) -> None:
        check_even(self.state_dim)


@register_model("s4", dataclass=S4Config)
class S4(BaseModel):
    cfg: S4Config
    encoder_name = "s4"
    ARCHITECTURE: ClassVar[tuple[str, ...]] = (
        "in_d", "hidden_dim", "num_layers", "state_dim", "bidirectional", "frames",
    )  # fmt: skip

    def __init__(self, cfg: S4Config) -> None:
        super().__init__(cfg)
        self.stack = S4Stack(
            cfg.in_d, cfg.hidden_dim, cfg.num_layers, cfg.state_dim, cfg.frames, cfg.bidirectional, cfg.dropout
        )

    @property
    def dim(self) -> int:
        return self.cfg.hidden_dim

    def parts(self) -> list[tuple[str, ...]]:
        layers = [(f"stack.layers.{i}", f"stack.norms.{i}") for i in range(self.cfg.num_layers)]
        return [("stack.proj",), *layers]

    def forward(self, source: Tensor, padding_mask: Tensor | None = None, rate: float | None = None) -> ModelOutput:
        """source [batch, leads, samples] -> features [batch, samples, dim], pooled; `rate` replaces the option."""
        return self.extract_features(source, padding_mask, rate=rate)

    def extract_features(
        self,
        source: Tensor,
        padding_mask: Tensor | None = None,
        layers: str | None = None,
        rate: float | None = None,
    ) -> ModelOutput:
        """layers="all" adds `hidden_states`: the first layer's input and every layer's output."""
        check_leads(source, self.cfg.in_d, f"model.in_d to {source.shape[1]}")
        lengths = lengths_of(padding_mask)
        states = self.stack(source.transpose(1, 2), lengths, rate or self.cfg.rate)
        padding = padding_of(lengths, source.shape[-1])
        output = ModelOutput(features=states[-1], pooled=pool_frames(states[-1], padding), padding_mask=padding)
        if layers == "all":
            output["hidden_states"] = states
        return output
