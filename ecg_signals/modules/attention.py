"""Multi-head self-attention with separate projections, as fairseq names them."""

import torch.nn.functional as F
from torch import Tensor, nn

from ecg_signals.modules.linear import Linear


class SelfAttention(nn.Module):
    """Softmax attention of every frame to every frame that is not padding."""

    def __init__(self, dim: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.k_proj = Linear(dim, dim)
        self.v_proj = Linear(dim, dim)
        self.q_proj = Linear(dim, dim)
        self.out_proj = Linear(dim, dim)

    def forward(
        self, x: Tensor, attend: Tensor | None = None, need_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """x [batch, frames, dim] -> (the same shape, weights averaged over heads [batch, query, key] or None).

        attend: bool [batch, 1, 1, frames], False = padded key; None: attend to all.
        """
        query, key, value = (self._split(proj(x)) for proj in (self.q_proj, self.k_proj, self.v_proj))
        dropout = self.dropout if self.training else 0.0
        if need_weights:
            mixed, weights = _attend_explicitly(query, key, value, attend, dropout)
        else:
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=attend, dropout_p=dropout)
            weights = None
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), weights

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [batch, heads, frames, dim / heads]


def _attend_explicitly(
    query: Tensor, key: Tensor, value: Tensor, attend: Tensor | None, dropout: float
) -> tuple[Tensor, Tensor]:
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    if attend is not None:
        scores = scores.masked_fill(~attend, float("-inf"))
    weights = scores.float().softmax(dim=-1)  # [batch, heads, query, key]
    mixed = F.dropout(weights, dropout).to(value.dtype) @ value
    return mixed, weights.mean(dim=1)
