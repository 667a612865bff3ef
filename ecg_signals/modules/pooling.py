"""From frames to one vector."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ecg_signals.config import ConfigError

POOLINGS = ("valid", "nonzero")
TOKENS = {"cls": "cls", "register": "registers", "own": "pooled"}  # pool -> what of an encoder's output it reads
SEVERAL = {"max_mean": 2, "mean_max_last": 3}  # pools that give more numbers than a frame has
POOLS = ("mean", "nonzero", "max", "last", *SEVERAL, "attentive", *TOKENS)


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


def last_frame(features: Tensor, padding_mask: Tensor | None) -> Tensor:
    """The last unpadded frame: [batch, frames, dim] -> [batch, dim]; frames of padding follow the others."""
    if padding_mask is None:
        return features[:, -1]
    place = (~padding_mask).sum(dim=1).clamp(min=1) - 1
    return features[torch.arange(len(features), device=features.device), place]


class AttentivePool(nn.Module):
    """What one learned query reads from the unpadded frames: [batch, frames, dim] -> [batch, dim].

    Args:
        query_proj: the query passes a linear layer.
        out_proj: what it reads passes one.
        bias: of these layers and of those of keys and values.
        query_std: deviation of the query's first values.
    Raises: ConfigError when `heads` does not divide `dim`.
    Source: Bardes et al. 2024, Revisiting Feature Prediction, arXiv:2404.08471, whose attentive probe it is.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        query_proj: bool = False,
        out_proj: bool = True,
        bias: bool = True,
        query_std: float = 0.02,  # a ViT's usual start
    ) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise ConfigError(f"model.pool_heads={heads} does not divide the {dim} values of a frame; set a divisor")
        self.heads = heads
        self.query = nn.Parameter(torch.randn(heads, 1, dim // heads) * query_std)
        self.q_proj = nn.Linear(dim, dim, bias=bias) if query_proj else nn.Identity()
        self.k_proj = nn.Linear(dim, dim, bias=bias)
        self.v_proj = nn.Linear(dim, dim, bias=bias)
        self.out_proj = nn.Linear(dim, dim, bias=bias) if out_proj else nn.Identity()

    def forward(self, features: Tensor, padding_mask: Tensor | None) -> Tensor:
        """Keys and values are linear in the frames: the one query goes through their weights, instead of every frame.

        That takes dim / heads times fewer operations per frame.
        """
        query = self.q_proj(self.query.flatten()).view_as(self.query) * self.query.shape[-1] ** -0.5
        keys = (query @ self.k_proj.weight.unflatten(0, (self.heads, -1))).squeeze(1)  # [heads, dim]
        scores = features @ keys.t()  # [batch, frames, heads]
        if self.k_proj.bias is not None:  # alike for all frames, so that its gradient is 0
            scores = scores + (query.flatten(1) * self.k_proj.bias.unflatten(0, (self.heads, -1))).sum(dim=1)
        if padding_mask is not None:
            scores = scores.masked_fill(padding_mask.unsqueeze(-1), torch.finfo(scores.dtype).min)
        weights = scores.softmax(dim=1).to(features.dtype)
        read = weights.transpose(1, 2) @ features  # [batch, heads, dim]
        mixed = torch.einsum("bhd,hod->bho", read, self.v_proj.weight.unflatten(0, (self.heads, -1))).flatten(1)
        return self.out_proj(mixed if self.v_proj.bias is None else mixed + self.v_proj.bias)


def frames_of(output: Mapping[str, Any]) -> tuple[Tensor, Tensor | None]:
    """What an encoder returned -> frames [batch, frames, dim] and their padding."""
    return output["features"], output.get("padding_mask")


def with_registers(output: Mapping[str, Any]) -> tuple[Tensor, Tensor | None]:
    """The same, registers first, which are never padding. Raises: ConfigError when the encoder has none."""
    (features, padding), registers = frames_of(output), output.get("registers")
    if registers is None:
        raise ConfigError("model.pool_registers=true, but this encoder gives no `registers`; set it to false")
    if padding is not None:
        padding = torch.cat([padding.new_zeros(registers.shape[:2]), padding], dim=1)
    return torch.cat([registers, features], dim=1), padding


def pool_output(output: Mapping[str, Any], kind: str) -> Tensor:
    """What an encoder returned -> one vector per item, by any of POOLS but `attentive`.

    Args:
        output: `features` [batch, frames, dim], `padding_mask` bool [batch, frames] or None; for kind cls `cls` [batch,
            dim], the class token; for kinds with last it may hold `last` [batch, dim], else that is the last unpadded
            frame; for kind register `registers` [batch, tokens, dim], of which the first is read; for
            kind own `pooled` [batch, dim], the vector that the encoder's family is known by.
    Raises: ConfigError when the encoder has no such tokens.
    """
    features, padding = frames_of(output)
    if kind in ("mean", "nonzero"):
        return pool_frames(features, padding, "nonzero" if kind == "nonzero" else "valid")
    if kind == "max":
        return pool_maximum(features, padding)
    if kind == "max_mean":
        return torch.cat([pool_maximum(features, padding), pool_frames(features, padding)], dim=-1)
    if kind in ("last", "mean_max_last"):
        last = output["last"] if "last" in output else last_frame(features, padding)
        means = [] if kind == "last" else [pool_frames(features, padding), pool_maximum(features, padding)]
        return torch.cat([*means, last], dim=-1)
    found = output.get(TOKENS[kind])
    if found is None:
        raise ConfigError(f"model.pool={kind}, but this encoder gives no `{TOKENS[kind]}`; set model.pool=mean")
    return found if found.dim() == 2 else found[:, 0]
