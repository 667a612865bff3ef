"""HuBERT's encoder: convolutions over the concatenated leads, a positional convolution, transformer blocks.

Attribute names are those of the published weights; dropout layers that the published dynamic regulariser
moves are modules with `dropout` in their name, attention dropout and layer drop are plain numbers.

Why these are not the layers of modules/, whose shapes they share: a seed gives other numbers there. ConvStem and
ConvPosition draw their own first weights before HubertBackbone draws HuBERT's; TransformerLayer draws dropout masks by
modules/dropout.py and one layer for both branches, where the regulariser needs three; SelfAttention hides padding by
-inf instead of float16's lowest number, which differs where a whole row is padding.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from ecg_signals.config import ConfigError
from ecg_signals.models.hubert.options import ACTIVATIONS, HubertBackboneConfig
from ecg_signals.modules.attention import split_heads
from ecg_signals.modules.conv_position import centred_convolution
from ecg_signals.modules.layerdrop import left_out
from ecg_signals.modules.recompute import RecomputedLayer


class ConvLayer(nn.Module):
    """One convolution, its norm if it has one, and the activation."""

    def __init__(self, conv: nn.Conv1d, norm: nn.Module | None, activation: str) -> None:
        super().__init__()
        self.conv = conv
        self.layer_norm = norm
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        """[batch, dim in, frames] -> [batch, dim out, fewer frames]."""
        x = self.conv(x)
        if isinstance(self.layer_norm, nn.LayerNorm):
            x = self.layer_norm(x.transpose(1, 2)).transpose(1, 2)
        elif self.layer_norm is not None:
            x = self.layer_norm(x)
        return self.activation(x)


class ConvStem(nn.Module):
    """The convolutions that turn a stream of samples into frames."""

    def __init__(self, cfg: HubertBackboneConfig) -> None:
        super().__init__()
        layers = []
        for i, (dim, kernel, stride) in enumerate(zip(cfg.conv_dim, cfg.conv_kernel, cfg.conv_stride)):
            conv = nn.Conv1d(cfg.conv_dim[i - 1] if i else 1, dim, kernel, stride, bias=cfg.conv_bias)
            first = (
                nn.GroupNorm(dim, dim) if i == 0 else None
            )  # one group per channel: statistics over the whole stream
            norm = nn.LayerNorm(dim) if cfg.feat_extract_norm == "layer" else first
            layers.append(ConvLayer(conv, norm, cfg.feat_extract_activation))
        self.conv_layers = nn.ModuleList(layers)

    def forward(self, stream: Tensor) -> Tensor:
        """[batch, samples of all leads one after the other] -> [batch, dim, frames]."""
        x = stream[:, None]  # [batch, 1, samples]
        for layer in self.conv_layers:
            x = layer(x)
        return x


def receptive_field(kernels: Sequence[int], strides: Sequence[int]) -> tuple[int, int]:
    """Samples that one frame sees, and the distance of two frames: (82, 64) for inputs decimated by 5."""
    field, step = 1, 1
    for kernel, stride in zip(kernels, strides):
        field += (kernel - 1) * step
        step *= stride
    return field, step


def num_frames(samples: int, kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Frames that the convolutions make of `samples`; 0 or less when there are too few."""
    for kernel, stride in zip(kernels, strides):
        samples = (samples - kernel) // stride + 1
    return samples


class FeatureProjection(nn.Module):
    """Convolution channels -> width of the encoder, [batch, frames, channels] -> [batch, frames, hidden_size]."""

    def __init__(self, cfg: HubertBackboneConfig) -> None:
        super().__init__()
        normed = cfg.feat_proj_layer_norm
        self.layer_norm = nn.LayerNorm(cfg.conv_dim[-1], eps=cfg.layer_norm_eps) if normed else nn.Identity()
        self.projection = nn.Linear(cfg.conv_dim[-1], cfg.hidden_size)
        self.dropout = nn.Dropout(cfg.feat_proj_dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, frames, conv dim] -> [batch, frames, hidden]."""
        return self.dropout(self.projection(self.layer_norm(x)))


class PositionalConv(nn.Module):
    """Relative positions by a wide grouped convolution whose weight is normed over its taps."""

    def __init__(self, cfg: HubertBackboneConfig) -> None:
        super().__init__()
        width = cfg.num_conv_pos_embeddings
        conv = nn.Conv1d(
            cfg.hidden_size, cfg.hidden_size, width, padding=width // 2, groups=cfg.num_conv_pos_embedding_groups
        )
        self.conv = parametrizations.weight_norm(conv, dim=2)
        self.activation = ACTIVATIONS[cfg.feat_extract_activation]()

    def forward(self, x: Tensor) -> Tensor:
        """[batch, frames, hidden] -> the same shape; an even kernel's surplus last frame is dropped."""
        return self.activation(centred_convolution(x, self.conv.weight, self.conv.bias, self.conv.groups))


class Attention(nn.Module):
    """Self-attention over frames [batch, frames, hidden_size], with Hugging Face's names of weights."""

    def __init__(self, cfg: HubertBackboneConfig) -> None:
        super().__init__()
        self.heads = cfg.num_attention_heads
        self.dropout_probability = cfg.attention_dropout
        self.k_proj = nn.Linear(cfg.hidden_size, cfg.hidden_size)
        self.v_proj = nn.Linear(cfg.hidden_size, cfg.hidden_size)
        self.q_proj = nn.Linear(cfg.hidden_size, cfg.hidden_size)
        self.out_proj = nn.Linear(cfg.hidden_size, cfg.hidden_size)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """x [batch, frames, hidden]; bias [batch, 1, 1, frames], added to the scores -> [batch, frames, hidden]."""
        query, key, value = (
            split_heads(projection(x), self.heads) for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        dropout = self.dropout_probability if self.training else 0.0
        bias = None if bias is None else bias.to(query.dtype)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two layers applied to every frame."""

    def __init__(self, cfg: HubertBackboneConfig) -> None:
        super().__init__()
        self.intermediate_dropout = nn.Dropout(cfg.activation_dropout)
        self.intermediate_dense = nn.Linear(cfg.hidden_size, cfg.intermediate_size)
        self.output_dense = nn.Linear(cfg.intermediate_size, cfg.hidden_size)
        self.output_dropout = nn.Dropout(cfg.hidden_dropout)
        self.activation = ACTIVATIONS[cfg.hidden_act]()

    def forward(self, x: Tensor) -> Tensor:
        x = self.intermediate_dropout(self.activation(self.intermediate_dense(x)))
        return self.output_dropout(self.output_dense(x))


class Block(RecomputedLayer):
    """One transformer block; norms after each branch as published, or before it (`do_stable_layer_norm`)."""

    def __init__(self, cfg: HubertBackboneConfig) -> None:
        super().__init__()
        self.norm_first = cfg.do_stable_layer_norm
        self.attention = Attention(cfg)
        self.dropout = nn.Dropout(cfg.hidden_dropout)
        self.layer_norm = nn.LayerNorm(cfg.hidden_size, eps=cfg.layer_norm_eps)
        self.feed_forward = FeedForward(cfg)
        self.final_layer_norm = nn.LayerNorm(cfg.hidden_size, eps=cfg.layer_norm_eps)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """[batch, frames, hidden] -> the same shape."""
        if self.norm_first:
            x = x + self.dropout(self.attention(self.layer_norm(x), bias))
            return x + self.feed_forward(self.final_layer_norm(x))
        x = self.layer_norm(x + self.dropout(self.attention(x, bias)))
        return self.final_layer_norm(x + self.feed_forward(x))


class Encoder(nn.Module):
    """Positional convolution, then the blocks: [batch, frames, hidden_size] -> the same."""

    def __init__(self, cfg: HubertBackboneConfig) -> None:
        super().__init__()
        self.norm_first = cfg.do_stable_layer_norm
        self.layerdrop = cfg.layerdrop
        self.pos_conv_embed = PositionalConv(cfg)
        self.layer_norm = nn.LayerNorm(cfg.hidden_size, eps=cfg.layer_norm_eps)
        self.dropout = nn.Dropout(cfg.hidden_dropout)
        self.layers = nn.ModuleList(Block(cfg) for _ in range(cfg.num_hidden_layers))

    @property
    def sometimes_unused(self) -> bool:
        """Blocks are left out at random."""
        return self.layerdrop > 0

    def forward(self, x: Tensor, padded: Tensor | None, last: int | None = None) -> list[Tensor]:
        """Hidden states: the input of the first block, then the output of every block.

        Args:
            x: [batch, frames, hidden].
            padded: [batch, frames], True where a frame is padding; such frames are zeroed and never attended to.
            last: stop after this many blocks; None runs all.
        Returns: up to blocks + 1 tensors [batch, frames, hidden]; norm-first: the last block's normed.
        """
        bias = None
        if padded is not None:
            x = x.masked_fill(padded[..., None], 0.0)
            bias = torch.zeros_like(padded, dtype=torch.float32).masked_fill(padded, torch.finfo(torch.float16).min)
            bias = bias[:, None, None]  # [batch, 1, 1, frames]
        x = x + self.pos_conv_embed(x)
        x = self.dropout(x if self.norm_first else self.layer_norm(x))
        states = [x]
        for block in self.layers[:last]:
            dropped = self.training and self.layerdrop > 0 and torch.rand(()).item() < self.layerdrop
            x = left_out(block, x, bias) if dropped else block(x, bias)
            states.append(x)
        if self.norm_first and len(states) == len(self.layers) + 1:
            states[-1] = self.layer_norm(states[-1])
        return states


def check_leads_fill_a_frame(samples: int, cfg: HubertBackboneConfig) -> None:
    """Raises: ConfigError when the concatenated leads are shorter than one frame."""
    field, _ = receptive_field(cfg.conv_kernel, cfg.conv_stride)
    if samples < field:
        raise ConfigError(
            f"the leads hold {samples} samples in all, but one frame needs {field}; "
            f"prepare the record with model.signal.prepare(record), which pads it to whole windows"
        )
