"""cpc: `fc_lstm` and a projection, which tells a later frame of the record from others.

Van den Oord et al. 2018, Representation Learning with Contrastive Predictive Coding, arXiv:1807.03748; for ECG as in
Mehari and Strodthoff 2022, Self-supervised representation learning from 12-lead ECG data, arXiv:2103.12676.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from ecg_signals.config import option
from ecg_signals.models.base import ModelOutput
from ecg_signals.models.encoders.fc_lstm import FcLstm, FcLstmConfig
from ecg_signals.modules.centred_conv import padding_of
from ecg_signals.modules.pooling import pool_frames
from ecg_signals.registry import register_model


@dataclass
class CpcConfig(FcLstmConfig):
    mlp: bool = option(False, "the projection has a hidden layer; published with context=s4")


@register_model("cpc", dataclass=CpcConfig)
class Cpc(FcLstm):
    cfg: CpcConfig
    encoder_class = FcLstm

    def __init__(self, cfg: CpcConfig) -> None:
        super().__init__(cfg)
        last = nn.Linear(cfg.hidden_dim, cfg.conv_dim[-1], bias=False)
        hidden = nn.Linear(cfg.hidden_dim, cfg.hidden_dim)
        self.proj = nn.Sequential(hidden, nn.ReLU(), last) if cfg.mlp else last

    def forward(self, source: Tensor, padding_mask: Tensor | None = None) -> ModelOutput:
        """source [batch, leads, samples] -> what `fc_lstm` gives, and what the criterion compares.

        Returns: encoded [batch, frames, conv_dim[-1]], frames before the context; predicted, of that shape, from the
            context up to each frame.
        """
        encoded, lengths = self.encoded(source, padding_mask)
        features = self.in_context(encoded, lengths)
        padding = padding_of(lengths, features.shape[1])
        return ModelOutput(
            features=features, pooled=pool_frames(features, padding), padding_mask=padding, encoded=encoded,
            predicted=self.proj(features),
        )  # fmt: skip
