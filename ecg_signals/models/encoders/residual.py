"""What the residual CNNs share: from their maps to frames, one vector and, on demand, hidden states."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from ecg_signals.config import ConfigError
from ecg_signals.models.base import BaseModel, ModelOutput
from ecg_signals.modules.centred_conv import add_leads_axis, hide_padding, lengths_of, padding_of, to_frames
from ecg_signals.modules.pooling import pool_frames
from ecg_signals.signal.leads import LEADS

Map = tuple[Tensor, Tensor | None]  # a map as in centred_conv, and its unpadded frames [batch] if there is padding


def check_leads(source: Tensor, leads: int, remedy: str) -> None:
    """Raises: ConfigError for another number of leads; `remedy` is what else to set than the leads that are loaded."""
    if source.dim() != 3 or source.shape[1] != leads:
        raise ConfigError(
            f"source has shape {list(source.shape)}; expected [batch, {leads} leads, samples]. Set {remedy}, or "
            f"task.leads_to_load to {leads} of them"
        )


def check_all_leads(source: Tensor, leadwise: bool) -> None:
    """Raises: ConfigError where a head with weights for each of the twelve leads gets another number of them."""
    if leadwise:
        remedy = f"model.leadwise=false with model.in_d={source.shape[1]} (the head has weights for every lead)"
        check_leads(source, len(LEADS), remedy)


class ResidualEncoder(BaseModel, ABC):
    """Define `maps`; `cfg` has `in_d`, and `leadwise` where the same filters may serve every lead alone.

    Attributes:
        LEAD_MAJOR: how a leadwise map is laid out in a frame: all channels of the first lead first, or all leads of
            the first channel. Published classifiers were trained on one of the two.
    """

    cfg: Any
    LEAD_MAJOR: ClassVar[bool] = False

    @abstractmethod
    def maps(self, x: Tensor, lengths: Tensor | None) -> list[Map]:
        """The maps after the first convolution and after every stage. x: [batch, (1,) leads, samples]."""

    def pool(self, features: Tensor, padding: Tensor | None) -> Tensor:
        """[batch, frames, dim], bool [batch, frames] (True = padding) -> [batch, dim]."""
        return pool_frames(features, padding)

    def forward(self, source: Tensor, padding_mask: Tensor | None = None) -> ModelOutput:
        """source [batch, leads, samples] -> features [batch, frames, dim]; leadwise dim = channels x leads."""
        return self.extract_features(source, padding_mask)

    def extract_features(
        self, source: Tensor, padding_mask: Tensor | None = None, layers: str | None = None
    ) -> ModelOutput:
        """layers="all" adds `hidden_states`: the maps that `maps` gives, [batch, frames, dim] each."""
        leadwise = getattr(self.cfg, "leadwise", False)
        if not leadwise:
            check_leads(source, self.cfg.in_d, f"model.in_d to {source.shape[1]}")
        maps = self.maps(add_leads_axis(source, leadwise), lengths_of(padding_mask))
        x, lengths = maps[-1]
        padding = padding_of(lengths, x.shape[-1])
        features = to_frames(hide_padding(x, lengths), self.LEAD_MAJOR)
        output = ModelOutput(features=features, pooled=self.pool(features, padding), padding_mask=padding)
        if layers == "all":
            output["hidden_states"] = [to_frames(x, self.LEAD_MAJOR) for x, _ in maps]
        return output
