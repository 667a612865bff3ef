"""Multi-head self-attention with separate projections, as fairseq names them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecg_signals.modules.dropout import dropout


class SelfAttention(nn.Module):
    """Softmax attention of every frame to every frame that is not padding."""

    def __init__(self, dim: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.q_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(
        self, x: Tensor, attend: Tensor | None = None, need_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """x [batch, frames, dim] -> (the same shape, weights averaged over heads [batch, query, key] or None).

        attend: bool [batch, 1, 1, frames], False = padded key; None: attend to all.
        """
        query, key, value = (self._split(proj(x)) for proj in (self.q_proj, self.k_proj, self.v_proj))
        p = self.dropout if self.training else 0.0
        weights = None
        if need_weights or _torch_is_explicit(query, p):
            kept = attention_weights(query, key, attend)
            mixed = dropout(kept, p).to(value.dtype) @ value
            weights = kept.mean(dim=1) if need_weights else None
        else:
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=attend, dropout_p=p)
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), weights

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [batch, heads, frames, dim / heads]


def attention_weights(query: Tensor, key: Tensor, attend: Tensor | None) -> Tensor:
    """query, key [batch, heads, frames, dim] -> softmax over keys [batch, heads, query, key]."""
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    if attend is not None:
        scores = scores.masked_fill(~attend, float("-inf"))
    return scores.softmax(dim=-1)


def _torch_is_explicit(query: Tensor, p: float) -> bool:
    """torch's CPU kernel knows no dropout and holds the weights as well; here their masks are cheaper to draw."""
    return p > 0 and query.device.type == "cpu" and not torch.compiler.is_compiling()
