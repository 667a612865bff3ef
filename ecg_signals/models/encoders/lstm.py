"""lstm: a recurrent network over samples, in one direction or both, with LSTM or GRU cells.

As in Strodthoff et al. 2021, Deep Learning for ECG Analysis: Benchmarks and Insights from PTB-XL, arXiv:2004.13701.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ecg_signals.config import BaseConfig, option
from ecg_signals.models.base import BaseModel, ModelOutput
from ecg_signals.models.encoders.residual import check_leads
from ecg_signals.modules.centred_conv import lengths_of, padding_of
from ecg_signals.modules.pooling import last_frame, pool_frames
from ecg_signals.modules.recurrent import CELLS, reached, recurrent, unroll
from ecg_signals.registry import register_model


@dataclass
class LSTMConfig(BaseConfig):
    in_d: int = option(12, "leads", least=1)
    hidden_dim: int = option(256, "width of a layer in one direction", least=1)
    num_layers: int = option(2, "layers", least=1)
    cell: str = option("lstm", "of every layer", choices=CELLS)
    bidirectional: bool = option(False, "a second half of every layer reads backwards")
    backward_end: str = option(
        "first", "the backward half's frame in what pools call last; published: last, where it has read one sample",
        choices=("first", "last"),
    )  # fmt: skip


@dataclass
class LSTMBidirConfig(LSTMConfig):
    bidirectional: bool = option(True, "a second half of every layer reads backwards")


@register_model("lstm", dataclass=LSTMConfig)
class LSTM(BaseModel):
    """A recurrent network over samples, LSTM or GRU."""

    cfg: LSTMConfig
    encoder_name = "lstm"
    is_recurrent = True
    ARCHITECTURE: ClassVar[tuple[str, ...]] = (
        "in_d", "hidden_dim", "num_layers", "cell", "bidirectional", "backward_end",
    )  # fmt: skip

    def __init__(self, cfg: LSTMConfig) -> None:
        super().__init__(cfg)
        self.rnn = recurrent(cfg.cell, cfg.in_d, cfg.hidden_dim, cfg.num_layers, cfg.bidirectional)

    @property
    def dim(self) -> int:
        return self.cfg.hidden_dim * (2 if self.cfg.bidirectional else 1)

    def parts(self) -> list[tuple[str, ...]]:
        names = [name for name, _ in self.named_parameters()]
        layers = (f"_l{layer}" for layer in range(self.cfg.num_layers))
        return [tuple(name for name in names if name.removesuffix("_reverse").endswith(layer)) for layer in layers]

    def forward(self, source: Tensor, padding_mask: Tensor | None = None) -> ModelOutput:
        """source [batch, leads, samples] -> features [batch, samples, dim], their mean `pooled`, and `last`."""
        check_leads(source, self.cfg.in_d, f"model.in_d to {source.shape[1]}")
        padding = padding_of(lengths_of(padding_mask), source.shape[-1])
        features = unroll(self.rnn, source.transpose(1, 2), padding)
        both = self.cfg.bidirectional and self.cfg.backward_end == "first"
        last = reached(features, padding, both) if both else last_frame(features, padding)
        return ModelOutput(features=features, pooled=pool_frames(features, padding), last=last, padding_mask=padding)

    def extract_features(
        self, source: Tensor, padding_mask: Tensor | None = None, layers: str | None = None
    ) -> ModelOutput:
        """layers="all" adds `hidden_states`: the input and the last layer's output; torch gives no others."""
        output = self(source, padding_mask)
        if layers == "all":
            output["hidden_states"] = [source.transpose(1, 2), output["features"]]
        return output


@register_model("lstm_bidir", dataclass=LSTMBidirConfig)
class LSTMBidir(LSTM):
    """`lstm` in both directions."""

    encoder_name = "lstm_bidir"
