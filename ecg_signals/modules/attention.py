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
        query, key, value = (split_heads(proj(x), self.heads) for proj in (self.q_proj, self.k_proj, self.v_proj))
        p = self.dropout if self.training else 0.0
        if not need_weights:
            return self.out_proj(read(query, key, value, attend, p).transpose(1, 2).flatten(2)), None
        weights = attention_weights(query, key, attend)
        mixed = dropout(weights, p).to(value.dtype) @ value
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), weights.mean(dim=1)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[batch, frames, dim] -> [batch, heads, frames, dim / heads]."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def read(query: Tensor, key: Tensor, value: Tensor, attend: Tensor | None, p: float = 0.0) -> Tensor:
    """What each query reads of the values, [batch, heads, frames, dim]; dropout of the weights at chance `p`."""
    if p > 0 and query.device.type == "cpu" and not torch.compiler.is_compiling():
        # torch's CPU kernel knows no dropout and holds the weights as well; here their masks are cheaper to draw.
        return dropout(attention_weights(query, key, attend), p).to(value.dtype) @ value
    return F.scaled_dot_product_attention(query, key, value, attn_mask=attend, dropout_p=p)


def attention_weights(query: Tensor, key: Tensor, attend: Tensor | None) -> Tensor:
    """query, key [batch, heads, frames, dim] -> softmax over keys [batch, heads, query, key]."""
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    if attend is not None:
        scores = scores.masked_fill(~attend, float("-inf"))
    return scores.softmax(dim=-1)
