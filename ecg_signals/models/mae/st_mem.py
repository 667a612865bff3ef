"""ST-MEM: tokens are patches of single leads, masked and decoded lead by lead, with a vector for every lead."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ecg_signals.config import option
from ecg_signals.interop.st_mem.contract import inputs
from ecg_signals.models.base import ModelOutput
from ecg_signals.models.mae.masked_autoencoder import (
    MaskedAutoencoder,
    MaskedAutoencoderConfig,
    divided,
    patches_in_time,
)
from ecg_signals.modules.pooling import pool_frames
from ecg_signals.registry import register_model
from ecg_signals.signal.contract import SignalContract


@dataclass
class StMemConfig(MaskedAutoencoderConfig):
    patch_size: int = option(75, "samples of a token; they divide seq_len", least=1)
    lead_vectors: str = option(
        "by_name", "fewer leads than it is built for have their own, or the first ones", choices=("by_name", "first")
    )  # fmt: skip


@register_model("st_mem", dataclass=StMemConfig)
class StMem(MaskedAutoencoder):
    """Takes any of its leads, in any order: they are told apart by their names in the input contract.

    `pooled` is the mean over all tokens, then the norm. Source: Na et al. 2024, arXiv:2402.09450.
    """

    cfg: StMemConfig
    ends = 2
    end = "sep_embedding"

    def __init__(self, cfg: StMemConfig) -> None:
        super().__init__(cfg)
        self.lead_embedding = nn.Parameter(torch.empty(len(cfg.leads), cfg.embed_dim))
        nn.init.normal_(self.lead_embedding, std=0.02)

    @classmethod
    def inputs(cls, cfg: Any) -> dict[str, SignalContract]:
        return inputs(cfg.seq_len, cfg.leads)

    def token_shape(self) -> tuple[int, int]:
        return divided("seq_len", self.cfg.seq_len, self.cfg.patch_size), self.cfg.patch_size

    def leads_of(self, count: int) -> list[int]:
        if self.cfg.lead_vectors == "first" and count <= len(self.cfg.leads):
            return list(range(count))
        return super().leads_of(count)

    def tokens(self, source: Tensor, leads: list[int], absent: float | bool) -> Tensor:
        return patches_in_time(source, self.cfg.patch_size, self.cfg.seq_len)

    def marked(self, x: Tensor, leads: list[int]) -> Tensor:
        whole = leads == list(range(len(self.cfg.leads)))
        return x + (self.lead_embedding if whole else self.lead_embedding[leads])[None, :, None]

    def output(self, x: Tensor, padded: Tensor | None) -> ModelOutput:
        inner = self.within(x).flatten(1, 2)
        padding = None if padded is None else padded.flatten(1)
        pooled = self.norm(pool_frames(inner, padding))
        return ModelOutput(features=self.norm(inner), pooled=pooled, padding_mask=padding)
