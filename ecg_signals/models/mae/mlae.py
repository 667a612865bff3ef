"""MLAE, the masked lead autoencoder: a token is a lead over the whole input."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from ecg_signals.config import ConfigError, option
from ecg_signals.models.mae.masked_autoencoder import MaskedAutoencoder, MaskedAutoencoderConfig, by_place, divided
from ecg_signals.registry import register_model


@dataclass
class MlaeConfig(MaskedAutoencoderConfig):
    patch_size: int = option(1, "neighbouring leads of a token; they divide the number of leads", least=1)


@register_model("mlae", dataclass=MlaeConfig)
class Mlae(MaskedAutoencoder):
    """Leads that an input lacks are tokens that it lacks; within a token of several leads they are zero.

    An input shorter than `seq_len` is filled up with zeros, as input contracts do. `pooled` is the class token.
    Source: Na et al. 2024, arXiv:2402.09450, who compare ST-MEM with it.
    """

    cfg: MlaeConfig

    def token_shape(self) -> tuple[int, int]:
        count = divided("leads, their number", len(self.cfg.leads), self.cfg.patch_size)
        return count, self.cfg.patch_size * self.cfg.seq_len

    def numbers(self, leads: list[int]) -> list[int] | None:
        found = sorted({lead // self.cfg.patch_size for lead in leads})
        return None if len(found) == len(self.cfg.leads) // self.cfg.patch_size else found

    def tokens(self, source: Tensor, leads: list[int], absent: float | bool) -> Tensor:
        surplus = source.shape[-1] - self.cfg.seq_len
        if surplus > 0:
            raise ConfigError(
                f"source has {source.shape[-1]} samples; the model takes model.seq_len={self.cfg.seq_len}: crop it "
                f"(task.max_sample_size={self.cfg.seq_len}), or set model.seq_len"
            )
        source = F.pad(source, (0, -surplus), value=absent) if surplus else source
        whole = by_place(source, leads, len(self.cfg.leads), absent).unflatten(1, (-1, self.cfg.patch_size)).flatten(2)
        chosen = self.numbers(leads)
        return (whole if chosen is None else whole[:, chosen])[:, None]
