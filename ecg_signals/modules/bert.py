"""BERT's encoder with the names of transformers' weights, and the layers in which two streams read each other.

Source: Devlin et al. 2018, BERT, arXiv:1810.04805; post-norm, exact GELU.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecg_signals.modules.attention import read, split_heads
from ecg_signals.modules.dropout import Dropout
from ecg_signals.modules.recompute import RecomputedLayer

EPS = 1e-12  # of every layer norm


class BertEmbeddings(nn.Module):
    """Token numbers [batch, tokens] -> [batch, tokens, dim]; all of them are of token type 0."""

    def __init__(self, vocab_size: int, dim: int, positions: int, dropout: float) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocab_size, dim)
        self.position_embeddings = nn.Embedding(positions, dim)
        self.token_type_embeddings = nn.Embedding(2, dim)
        self.LayerNorm = nn.LayerNorm(dim, eps=EPS)
        self.dropout = Dropout(dropout)

    def forward(self, ids: Tensor) -> Tensor:
        places = self.position_embeddings.weight[: ids.shape[1]]
        x = self.word_embeddings(ids) + self.token_type_embeddings.weight[0] + places
        return self.dropout(self.LayerNorm(x))


class _Projections(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query, self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)


class _Residual(nn.Module):
    """A linear layer, its residual and its layer norm."""

    def __init__(self, in_dim: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Linear(in_dim, dim)
        self.LayerNorm = nn.LayerNorm(dim, eps=EPS)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(self.dropout(self.dense(x)) + residual)


class _Dense(nn.Module):
    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        self.dense = nn.Linear(dim, out_dim)


class BertAttention(nn.Module):
    """Attention of `x` to `other` [batch, tokens, dim], with its residual and layer norm."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.p = heads, dropout
        self.add_module("self", _Projections(dim))
        self.output = _Residual(dim, dim, dropout)

    def forward(self, x: Tensor, other: Tensor, attend: Tensor | None) -> Tensor:
        """attend: bool [batch, 1, 1, tokens of other], False = padding; None: attend to all."""
        own = self.get_submodule("self")
        query, key, value = own.query(x), own.key(other), own.value(other)  # type: ignore[operator]
        query, key, value = (split_heads(part, self.heads) for part in (query, key, value))
        mixed = read(query, key, value, attend, self.p if self.training else 0.0)
        return self.output(mixed.transpose(1, 2).flatten(2), x)


class BertLayer(RecomputedLayer):
    """Self-attention and perceptron; with `crosses` attention to another stream between them."""

    def __init__(self, dim: int, ffn_dim: int, heads: int, dropout: float, crosses: bool = False) -> None:
        super().__init__()
        self.attention = BertAttention(dim, heads, dropout)
        if crosses:
            self.crossattention = BertAttention(dim, heads, dropout)
        self.intermediate = _Dense(dim, ffn_dim)
        self.output = _Residual(ffn_dim, dim, dropout)

    def forward(
        self, x: Tensor, attend: Tensor | None, other: Tensor | None = None, attend_other: Tensor | None = None
    ) -> Tensor:
        x = self.attention(x, x, attend)
        if other is not None:
            x = self.crossattention(x, other, attend_other)
        return self.output(F.gelu(self.intermediate.dense(x)), x)


class _Layers(nn.Module):
    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layer = nn.ModuleList(layers)


class BertEncoder(nn.Module):
    """Embeddings and layers, without a pooler: token numbers [batch, tokens] -> [batch, tokens, dim]."""

    def __init__(
        self, vocab_size: int, positions: int, layers: int, dim: int, ffn_dim: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.embeddings = BertEmbeddings(vocab_size, dim, positions, dropout)
        self.encoder = _Layers([BertLayer(dim, ffn_dim, heads, dropout) for _ in range(layers)])
        self.apply(init_bert)

    def forward(self, ids: Tensor, attend: Tensor | None) -> Tensor:
        x = self.embeddings(ids)
        for layer in self.encoder.layer:
            x = layer(x, attend)
        return x


class BertPooler(_Dense):
    """What the first token stands for: [batch, tokens, dim] -> [batch, dim]."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.dense(x[:, 0]))


class BertReader(BertEncoder):
    """A whole BERT: token numbers [batch, tokens], bool [batch, tokens] (True = padding) or None -> [batch, dim]."""

    def __init__(
        self, vocab_size: int, positions: int, layers: int, dim: int, ffn_dim: int, heads: int, dropout: float
    ) -> None:
        super().__init__(vocab_size, positions, layers, dim, ffn_dim, heads, dropout)
        self.pooler = BertPooler(dim)
        self.pooler.apply(init_bert)

    def forward(self, ids: Tensor, padding: Tensor | None) -> Tensor:
        return self.pooler(super().forward(ids, attended(padding)))


def init_bert(module: nn.Module) -> None:
    """Weights as BERT begins: N(0, 0.02), biases 0."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def attended(padding: Tensor | None) -> Tensor | None:
    """Padding, bool [batch, tokens], as layers take it."""
    return None if padding is None else ~padding[:, None, None, :]
