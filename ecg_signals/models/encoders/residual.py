"""What the residual CNNs share: from their maps to frames, one vector and, on demand, hidden states."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from ecg_signals.models.base import BaseModel, ModelOutput
from ecg_signals.modules.centred_conv import add_leads_axis, hide_padding, lengths_of, padding_of, to_frames

Map = tuple[Tensor, Tensor | None]  # a map as in centred_conv, and its unpadded frames [batch] if there is padding


class ResidualEncoder(BaseModel, ABC):
    """Define `maps` and `pool`; `cfg` has `leadwise`.

    Attributes:
        LEAD_MAJOR: how a leadwise map is laid out in a frame: all channels of the first lead first, or all leads of
            the first channel. Published classifiers were trained on one of the two.
    """

    cfg: Any
    LEAD_MAJOR: ClassVar[bool] = False

    @abstractmethod
    def maps(self, x: Tensor, lengths: Tensor | None) -> list[Map]:
        """The maps after the first convolution and after every stage. x: [batch, (1,) leads, samples]."""

    @abstractmethod
    def pool(self, features: Tensor, padding: Tensor | None) -> Tensor:
        """[batch, frames, dim], bool [batch, frames] (True = padding) -> [batch, dim]."""

    def forward(self, source: Tensor, padding_mask: Tensor | None = None) -> ModelOutput:
        """source [batch, leads, samples] -> features [batch, frames, dim]; leadwise dim = channels x leads."""
        return self.extract_features(source, padding_mask)

    def extract_features(
        self, source: Tensor, padding_mask: Tensor | None = None, layers: str | None = None
    ) -> ModelOutput:
        """layers="all" adds `hidden_states`: the maps that `maps` gives, [batch, frames, dim] each."""
        maps = self.maps(add_leads_axis(source, self.cfg.leadwise), lengths_of(padding_mask))
        x, lengths = maps[-1]
        padding = padding_of(lengths, x.shape[-1])
        features = to_frames(hide_padding(x, lengths), self.LEAD_MAJOR)
        output = ModelOutput(features=features, pooled=self.pool(features, padding), padding_mask=padding)
        if layers == "all":
            output["hidden_states"] = [to_frames(x, self.LEAD_MAJOR) for x, _ in maps]
        return output
