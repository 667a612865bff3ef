"""From frames to one vector."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecg_signals.config import ConfigError

POOLINGS = ("valid", "nonzero")
TOKENS = {"cls": "cls", "register": "registers", "own": "pooled"}  # pool -> what of an encoder's output it reads
POOLS = ("mean", "nonzero", "max", "max_mean", "attentive", *TOKENS)


def pool_frames(features: Tensor, padding_mask: Tensor | None, pooling: str = "valid") -> Tensor:
    """Mean over frames: [batch, frames, dim] -> [batch, dim].

    Args:
        padding_mask: bool [batch, frames], True = padding; None: no padding.
        pooling: "valid" divides by the frames that are not padding; "nonzero", fairseq-signals' arithmetic, divides
            each channel by the number of its non-zero values, so a true 0.0 is not counted. Without padding and
            without exact zeros both are the plain mean. A channel that is zero throughout gives 0.
    """
    if padding_mask is not None:
        features = features.masked_fill(padding_mask.unsqueeze(-1), 0.0)
    if pooling == "nonzero":
        return features.sum(dim=1) / (features != 0).sum(dim=1).clamp(min=1)
    if padding_mask is None:
        return features.mean(dim=1)
    frames = (~padding_mask).sum(dim=1, keepdim=True).clamp(min=1)
    return features.sum(dim=1) / frames


def pool_maximum(features: Tensor, padding_mask: Tensor | None) -> Tensor:
    """Largest value over unpadded frames: [batch, frames, dim] -> [batch, dim]."""
    if padding_mask is not None:
        features = features.masked_fill(padding_mask.unsqueeze(-1), float("-inf"))
    return features.amax(dim=1)


class AttentivePool(nn.Module):
    """What one learned query reads from the unpadded frames: [batch, frames, dim] -> [batch, dim].

    Raises: ConfigError when `heads` does not divide `dim`.
    Source: Bardes et al. 2024, Revisiting Feature Prediction, arXiv:2404.08471, whose attentive probe it is.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise ConfigError(f"model.pool_heads={heads} does not divide the {dim} values of a frame; set a divisor")
        self.heads = heads
        self.query = nn.Parameter(torch.randn(heads, 1, dim // heads) * 0.02)  # a ViT's usual start
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, features: Tensor, padding_mask: Tensor | None) -> Tensor:
        key, value = (
            proj(features).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [batch, heads, frames, dim / heads]
            for proj in (self.k_proj, self.v_proj)
        )
        attend = None if padding_mask is None else ~padding_mask[:, None, None, :]
        query = self.query.to(key.dtype).expand(len(features), -1, -1, -1)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=attend)  # [batch, heads, 1, dim / heads]
        return self.out_proj(mixed.flatten(1))


def pool_output(output: Mapping[str, Any], kind: str) -> Tensor:
    """What an encoder returned -> one vector per item, by any of POOLS but `attentive`.

    Args:
        output: `features` [batch, frames, dim], `padding_mask` bool [batch, frames] or None; for kind cls `cls` [batch,
            dim], the class token; for kind register `registers` [batch, tokens, dim], which are averaged; for kind own
            `pooled` [batch, dim], the vector that the encoder's family is known by.
    Raises: ConfigError when the encoder has no such tokens.
    """
    features, padding = output["features"], output.get("padding_mask")
    if kind in ("mean", "nonzero"):
        return pool_frames(features, padding, "nonzero" if kind == "nonzero" else "valid")
    if kind == "max":
        return pool_maximum(features, padding)
    if kind == "max_mean":
        return torch.cat([pool_maximum(features, padding), pool_frames(features, padding)], dim=-1)
    found = output.get(TOKENS[kind])
    if found is None:
        raise ConfigError(f"model.pool={kind}, but this encoder gives no `{TOKENS[kind]}`; set model.pool=mean")
    return found if found.dim() == 2 else found.mean(dim=1)
