"""The transformer encoder of wav2vec 2.0: post-norm or pre-norm layers, layer drop, optional attention maps."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecg_signals.modules.attention import SelfAttention
from ecg_signals.modules.dropout import Dropout
from ecg_signals.modules.layerdrop import left_out
from ecg_signals.modules.recompute import RecomputedLayer


class TransformerLayer(RecomputedLayer):
    """Self-attention and a two-layer perceptron, each with its residual and its layer norm.

    Attributes:
        need_weights: what notebooks written for fairseq-signals set beside the encoder's; False unless set.
    """

    need_weights = False

    def __init__(
        self,
        dim: int,
        ffn_dim: int,
        heads: int,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        activation_dropout: float = 0.0,
        layer_norm_first: bool = False,
    ) -> None:
        super().__init__()
        self.self_attn = SelfAttention(dim, heads, attention_dropout)
        self.dropout = Dropout(dropout)
        self.activation_dropout = Dropout(activation_dropout)
        self.layer_norm_first = layer_norm_first
        self.self_attn_layer_norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, ffn_dim)
        self.fc2 = nn.Linear(ffn_dim, dim)
        self.final_layer_norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, attend: Tensor | None, need_weights: bool) -> tuple[Tensor, Tensor | None]:
        if self.layer_norm_first:
            mixed, weights = self.self_attn(self.self_attn_layer_norm(x), attend, need_weights)
            x = x + self.dropout(mixed)
            return x + self._ffn(self.final_layer_norm(x)), weights
        mixed, weights = self.self_attn(x, attend, need_weights)
        x = self.self_attn_layer_norm(x + self.dropout(mixed))
        return self.final_layer_norm(x + self._ffn(x)), weights

    def _ffn(self, x: Tensor) -> Tensor:
        return self.dropout(self.fc2(self.activation_dropout(F.gelu(self.fc1(x)))))


class TransformerEncoder(nn.Module):
    """Layers over frames that already carry their position.

    Args:
        layerdrop: chance of leaving a layer out of a training step, drawn from torch's CPU generator.

    Attributes:
        need_weights: return the attention maps of every layer, as `need_weights=True` does; may be set at any time.
    """

    need_weights = False

    def __init__(
        self,
        layers: int,
        dim: int,
        ffn_dim: int,
        heads: int,
        *,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        activation_dropout: float = 0.0,
        layer_norm_first: bool = False,
        layerdrop: float = 0.0,
    ) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.layer_norm_first = layer_norm_first
        self.layerdrop = layerdrop
        self.layers = nn.ModuleList(
            TransformerLayer(dim, ffn_dim, heads, dropout, attention_dropout, activation_dropout, layer_norm_first)
            for _ in range(layers)
        )
        self.layer_norm = nn.LayerNorm(dim)
        self.apply(_init_linear)

    @property
    def sometimes_unused(self) -> bool:
        """Layers are left out at random."""
        return self.layerdrop > 0

    def forward(
        self,
        x: Tensor,
        padding_mask: Tensor | None = None,
        *,
        need_weights: bool = False,
        hidden: list[Tensor] | None = None,
        attend: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """x [batch, frames, dim] -> (the same shape, attention [batch, layers, query, key] or None).

        padding_mask: bool [batch, frames], True = padding. hidden: receives the input of the first layer, then
        every layer's output. attend: bool [query, key], False where a frame does not read another.
        """
        if padding_mask is not None:
            x = x.masked_fill(padding_mask.unsqueeze(-1), 0.0)
            unpadded = ~padding_mask[:, None, None, :]
            attend = unpadded if attend is None else unpadded & attend
        if not self.layer_norm_first:
            x = self.layer_norm(x)
        x = self.dropout(x)
        if hidden is not None:
            hidden.append(x)
        need_weights = need_weights or self.need_weights or any(layer.need_weights for layer in self.layers)
        maps = []
        kept = self._draw_layers()
        for layer, keep in zip(self.layers, kept):
            if keep:
                x, weights = layer(x, attend, need_weights)
                maps.append(weights)
            else:
                x = left_out(layer, x, attend, need_weights)
            if hidden is not None:
                hidden.append(x)
        if self.layer_norm_first:
            x = self.layer_norm(x)
        return x, torch.stack(maps, dim=1) if need_weights and maps else None

    def _draw_layers(self) -> list[bool]:
        if not self.training or self.layerdrop == 0:
            return [True] * len(self.layers)
        return (torch.rand(len(self.layers)) > self.layerdrop).tolist()


def _init_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)  # BERT's, arXiv:1810.04805, which fairseq takes
        nn.init.zeros_(module.bias)
