"""MTAE, the masked time autoencoder: a token is a patch of time of all leads together."""

from dataclasses import dataclass

from torch import Tensor

from ecg_signals.config import option
from ecg_signals.models.mae.masked_autoencoder import (
    MaskedAutoencoder,
    MaskedAutoencoderConfig,
    by_place,
    divided,
    patches_in_time,
)
from ecg_signals.registry import register_model


@dataclass
class MtaeConfig(MaskedAutoencoderConfig):
    patch_size: int = option(75, "samples of a token in every lead; they divide seq_len", least=1)


@register_model("mtae", dataclass=MtaeConfig)
class Mtae(MaskedAutoencoder):
    """A lead that an input lacks is zero in every token, as random lead masking (MTAE+RLM) has it.

    `pooled` is the class token. Source: Na et al. 2024, arXiv:2402.09450, who compare ST-MEM with it.
    """

    cfg: MtaeConfig

    def token_shape(self) -> tuple[int, int]:
        size = self.cfg.patch_size
        return divided("seq_len", self.cfg.seq_len, size), size * len(self.cfg.leads)

    def tokens(self, source: Tensor, leads: list[int], absent: float | bool) -> Tensor:
        """The values of a token are ordered by sample, then by lead."""
        patches = patches_in_time(source, self.cfg.patch_size, self.cfg.seq_len)
        patches = by_place(patches, leads, len(self.cfg.leads), absent)  # [batch, leads, tokens, patch_size]
        return patches.permute(0, 2, 3, 1).flatten(2)[:, None]
