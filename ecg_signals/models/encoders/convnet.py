"""A stack of convolutions, their mean over time, a linear layer."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from ecg_signals.config import MISSING, BaseConfig, option
from ecg_signals.models.base import BaseModel, ModelOutput
from ecg_signals.modules.conv_stem import ConvStem, parse_conv_layers, unpadded_lengths
from ecg_signals.modules.pooling import pool_frames
from ecg_signals.registry import register_model


@dataclass
class ConvNetConfig(BaseConfig):
    extractor_mode: str = option(
        "default", "group norm after the first convolution, or layer norm after each", choices=("default", "layer_norm")
    )
    dropout: float = option(0.0, "after every convolution", least=0, most=1)
    conv_feature_layers: str = option("[(256, 2, 2)] * 4", "(dim, kernel, stride) of every convolution")
    conv_bias: bool = option(False, "convolutions have a bias")
    input_dim: int = option(12, "leads", least=1)
    output_dim: int = option(MISSING, "columns of the logits; 0: none", least=0)


@register_model("convnet", dataclass=ConvNetConfig)
class ConvNet(BaseModel):
    cfg: ConvNetConfig
    encoder_name = "convnet"
    AS_ENCODER: ClassVar[dict[str, int]] = {"output_dim": 0}
    ARCHITECTURE = ("extractor_mode", "conv_feature_layers", "conv_bias", "input_dim")

    def __init__(self, cfg: ConvNetConfig) -> None:
        super().__init__(cfg)
        spec = parse_conv_layers(cfg.conv_feature_layers)
        self.feature_extractor = ConvStem(
            spec, cfg.input_dim, cfg.extractor_mode, cfg.conv_bias, cfg.dropout, leads_option="model.input_dim"
        )
        self.final_proj = nn.Linear(self.dim, cfg.output_dim) if cfg.output_dim else None

    @property
    def dim(self) -> int:
        return self.feature_extractor.dim

    def parts(self) -> list[tuple[str, ...]]:
        return [(f"feature_extractor.conv_layers.{layer}",) for layer in range(len(self.feature_extractor.spec))]

    def forward(self, source: Tensor, padding_mask: Tensor | None = None) -> ModelOutput:
        """source [batch, leads, samples] -> features [batch, frames, dim], pooled, logits [batch, output_dim]."""
        return self.extract_features(source, padding_mask)

    def extract_features(
        self, source: Tensor, padding_mask: Tensor | None = None, layers: str | None = None
    ) -> ModelOutput:
        """layers="all" adds `hidden_states`: the input and every convolution's output, [batch, frames, dim] each."""
        hidden: list[Tensor] | None = [] if layers == "all" else None
        lengths = None if padding_mask is None else unpadded_lengths(padding_mask)
        features = self.feature_extractor(source, lengths, hidden)
        padding = (
            None if padding_mask is None else self.feature_extractor.padded_frames(padding_mask, features.shape[1])
        )
        pooled = pool_frames(features, padding)
        output = ModelOutput(features=features, pooled=pooled, padding_mask=padding)
        if self.final_proj is not None:
            output["logits"] = self.final_proj(pooled)
        if hidden is not None:
            output["hidden_states"] = hidden
        return output
