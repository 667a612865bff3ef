"""The pre-norm transformer block of vision transformers, with the variants that published ECG encoders differ by."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecg_signals.modules.attention import read
from ecg_signals.modules.dropout import Dropout
from ecg_signals.modules.recompute import RecomputedLayer

INITS = ("truncated", "xavier")
WEIGHT_STD = 0.02


class FusedAttention(nn.Module):
    """Self-attention of every token to every other, query, key and value from one projection, in this order.

    Args:
        head_dim: width of a head; None: dim / heads.
        attn_dropout: of the attention's weights.
        dropout: of what comes out.
        project: whether what the heads read is projected back; without it heads * head_dim must be dim.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        head_dim: int | None = None,
        qkv_bias: bool = True,
        bias: bool = True,
        attn_dropout: float = 0.0,
        dropout: float = 0.0,
        project: bool = True,
    ) -> None:
        super().__init__()
        inner = heads * (head_dim or dim // heads)
        self.heads = heads
        self.attn_dropout = attn_dropout
        self.qkv = nn.Linear(dim, 3 * inner, bias=qkv_bias)
        self.proj = nn.Linear(inner, dim, bias=bias) if project else nn.Identity()
        self.dropout = Dropout(dropout if project else 0.0)

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        """x [batch, tokens, dim] -> the same shape.

        padding: bool [batch, tokens], True = not to be attended to; for every token by itself [batch or 1, tokens,
            tokens].
        """
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attend = None if padding is None else ~(padding[:, None] if padding.dim() == 3 else padding[:, None, None])
        mixed = read(query, key, value, attend, self.attn_dropout if self.training else 0.0)
        return self.dropout(self.proj(mixed.transpose(1, 2).flatten(2)))


class Mlp(nn.Module):
    """Linear, exact GELU, linear."""

    def __init__(self, dim: int, hidden: int, *, bias: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden, bias=bias)
        self.fc2 = nn.Linear(hidden, dim, bias=bias)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.fc2(self.dropout(F.gelu(self.fc1(x)))))


class LayerScale(nn.Module):
    """A learned factor per channel (Touvron et al. 2021, arXiv:2103.17239)."""

    def __init__(self, dim: int, start: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((dim,), start))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class DropPath(nn.Module):
    """Leaves out a residual branch of whole items at chance `p` in training (Huang et al. 2016, arXiv:1603.09382)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if self.p <= 0 or not self.training:
            return x
        kept = torch.rand(len(x), device=x.device) >= self.p
        return x * (kept / (1 - self.p)).to(x.dtype).view(-1, *[1] * (x.dim() - 1))


class VitBlock(RecomputedLayer):
    """x + attention(norm(x)), then x + perceptron(norm(x)) (Dosovitskiy et al. 2021, arXiv:2010.11929).

    Args:
        hidden: width of the perceptron's hidden layer.
        bias: of every linear layer but the fused projection, which has `qkv_bias`, and of the layer norms unless
            `norm_bias` says otherwise.
        layer_scale: where the two branches' factors begin; 0: there are none.
        drop_path: chance that a branch is left out while training.
        project: see FusedAttention.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int,
        *,
        head_dim: int | None = None,
        qkv_bias: bool = True,
        bias: bool = True,
        norm_bias: bool | None = None,
        norm_eps: float = 1e-5,
        layer_scale: float = 0.0,
        dropout: float = 0.0,
        attn_dropout: float = 0.0,
        drop_path: float = 0.0,
        project: bool = True,
    ) -> None:
        super().__init__()
        norm_bias = bias if norm_bias is None else norm_bias
        self.norm1 = nn.LayerNorm(dim, eps=norm_eps, bias=norm_bias)
        self.attn = FusedAttention(
            dim, heads, head_dim=head_dim, qkv_bias=qkv_bias, bias=bias, attn_dropout=attn_dropout, dropout=dropout,
            project=project,
        )  # fmt: skip
        self.attn_ls = LayerScale(dim, layer_scale) if layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps, bias=norm_bias)
        self.mlp = Mlp(dim, hidden, bias=bias, dropout=dropout)
        self.mlp_ls = LayerScale(dim, layer_scale) if layer_scale else nn.Identity()
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        """x [batch, tokens, dim] -> the same shape; padding: see FusedAttention."""
        x = x + self.drop_path(self.attn_ls(self.attn(self.norm1(x), padding)))
        return x + self.drop_path(self.mlp_ls(self.mlp(self.norm2(x))))


def drawn_token(count: int, dim: int) -> nn.Parameter:
    """[1, count, dim]."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(1, count, dim), std=WEIGHT_STD))


def initialise(root: nn.Module, depth: int, init: str) -> None:
    """Draw the weights below `root`; `depth`: blocks of the encoder, by which residual branches begin smaller."""
    for name, module in root.named_modules():
        if not isinstance(module, (nn.Linear, nn.Conv1d)):
            continue
        if init == "xavier":
            nn.init.xavier_uniform_(module.weight)
        else:
            shrink = math.sqrt(2 * depth) if name.endswith(("attn.proj", "mlp.fc2")) else 1.0
            nn.init.trunc_normal_(module.weight, std=WEIGHT_STD / shrink)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
