"""A vision transformer over time: every patch of all leads together is one token.

Dosovitskiy et al. 2021, arXiv:2010.11929; for ECG as in Weimann and Conrad 2024, Self-supervised pre-training with
joint-embedding predictive architecture boosts ECG classification performance, arXiv:2410.13867.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.models.base import ModelOutput
from ecg_signals.models.encoders.patches import PatchEncoder
from ecg_signals.modules.recompute import RECOMPUTE
from ecg_signals.modules.vit import INITS, VitBlock, drawn_token, initialise
from ecg_signals.registry import register_model

USUAL_PATCHES = 512  # whose positions are held ready


@dataclass
class VitConfig(BaseConfig):
    in_d: int = option(12, "leads", least=1)
    patch_size: int = option(25, "samples per patch; what is left over at the end of the input is not seen", least=1)
    dim: int = option(384, "width of a token; a multiple of num_heads, even", least=2)
    depth: int = option(8, "blocks", least=1)
    num_heads: int = option(6, "attention heads per block", least=1)
    mlp_ratio: float = option(4.0, "width of a block's hidden layer over dim", above=0)
    qkv_bias: bool = option(False, "biases of query, key and value")
    bias: bool = option(False, "biases of all other linear layers, of the patches and of layer norms")
    norm_bias: bool | None = option(None, "biases of layer norms; null: as bias")
    norm_eps: float = option(1e-6, "added to the variance in layer norms", above=0)
    layer_scale_eps: float = option(0.0, "where the learned factors of every branch begin; 0: there are none", least=0)
    num_registers: int = option(0, "learned tokens before the patches", least=0)
    dropout: float = option(0.0, "after attention and in the perceptron", least=0, most=1)
    attn_dropout: float = option(0.0, "of attention weights", least=0, most=1)
    checkpoint_activations: bool = option(False, RECOMPUTE, ours=True)
    init: str = option("truncated", "truncated normal with small residual branches, or xavier-uniform", choices=INITS)

    def __post_init__(self) -> None:
        check_heads(self.dim, self.num_heads, "dim", "num_heads")


def check_heads(dim: int, heads: int, width: str, number: str) -> None:
    """Raises: ConfigError for widths that heads or pairs of sines and cosines do not divide."""
    if dim % heads or dim % 2:
        raise ConfigError(f"model.{width}={dim} with model.{number}={heads}; set an even multiple of the heads")


class Positions(nn.Module):
    """What is added to the patches of one place, fixed: sin(p w) and cos(p w) in turn, w = 10000^(-2k / dim).

    The first patch of the input has place 0, wherever in the record it was cut.
    """

    table: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("table", sinusoids(USUAL_PATCHES, dim), persistent=False)

    def forward(self, patches: int) -> Tensor:
        """[patches, dim]."""
        if patches > len(self.table):
            self.table = sinusoids(patches, self.table.shape[1]).to(self.table)
        return self.table[:patches]


def sinusoids(patches: int, dim: int) -> Tensor:
    """[patches, dim] float32."""
    rates = torch.exp(torch.arange(0, dim, 2, dtype=torch.float32) * (-math.log(10000.0) / dim))
    angles = torch.arange(patches, dtype=torch.float32)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


class PatchEmbedding(nn.Module):
    """[batch, leads, samples] -> [batch, patches, dim]."""

    def __init__(self, leads: int, patch_size: int, dim: int, bias: bool) -> None:
        super().__init__()
        self.proj = nn.Conv1d(leads, dim, patch_size, stride=patch_size, bias=bias)

    def forward(self, source: Tensor) -> Tensor:
        return self.proj(source).transpose(1, 2)


def blocks_of(cfg: VitConfig, dim: int, depth: int, heads: int, layer_scale: float = 0.0) -> nn.ModuleList:
    return nn.ModuleList(
        VitBlock(
            dim, heads, int(cfg.mlp_ratio * dim), qkv_bias=cfg.qkv_bias, bias=cfg.bias, norm_bias=cfg.norm_bias,
            norm_eps=cfg.norm_eps, layer_scale=layer_scale, dropout=cfg.dropout, attn_dropout=cfg.attn_dropout,
        )
        for _ in range(depth)
    )  # fmt: skip


def norm_of(cfg: VitConfig, dim: int) -> nn.LayerNorm:
    return nn.LayerNorm(dim, eps=cfg.norm_eps, bias=cfg.bias if cfg.norm_bias is None else cfg.norm_bias)


def take_tokens(x: Tensor, indices: Tensor) -> Tensor:
    """x [batch, patches, dim], indices [batch, some] -> [batch, some, dim]."""
    return x.gather(1, indices[..., None].expand(-1, -1, x.shape[-1]))


@register_model("vit", dataclass=VitConfig)
class Vit(PatchEncoder):
    cfg: VitConfig
    EMBEDS = ("registers", "patch_embed")
    encoder_name = "vit"
    ARCHITECTURE: ClassVar[tuple[str, ...]] = (
        "in_d", "patch_size", "dim", "depth", "num_heads", "mlp_ratio", "qkv_bias", "bias", "norm_bias", "norm_eps",
    )  # fmt: skip
    NEW_WEIGHTS = ("registers", "attn_ls", "mlp_ls")  # what fine-tuning may add

    def __init__(self, cfg: VitConfig) -> None:
        super().__init__(cfg)
        self.registers = drawn_token(cfg.num_registers, cfg.dim) if cfg.num_registers else None
        self.patch_embed = PatchEmbedding(cfg.in_d, cfg.patch_size, cfg.dim, cfg.bias)
        self.positions = Positions(cfg.dim)
        self.blocks = blocks_of(cfg, cfg.dim, cfg.depth, cfg.num_heads, cfg.layer_scale_eps)
        self.norm = norm_of(cfg, cfg.dim)
        initialise(self, cfg.depth, cfg.init)

    @classmethod
    def inherited_options(cls, cfg: Any) -> list[str]:
        return ["num_registers", "layer_scale_eps"]

    def tokens(self, source: Tensor, padding_mask: Tensor | None) -> tuple[Sequence[Tensor], Tensor | None]:
        """Registers first, which are never padding."""
        return self.states(source, padding_mask), self.padded_patches(source, padding_mask)

    def states(
        self, source: Tensor, padding_mask: Tensor | None = None, visible: Tensor | None = None
    ) -> Sequence[Tensor]:
        """The tokens before every block and after the last norm, registers first, each [batch, tokens, dim].

        visible: int64 [batch, some], the only patches that are encoded; None: all.
        """
        x = self.embed(source)
        padded = self.padded_patches(source, padding_mask)
        if visible is not None:
            x, padded = take_tokens(x, visible), None if padded is None else padded.gather(1, visible)
        if self.registers is not None:
            x = torch.cat([self.registers.to(x.dtype).expand(len(x), -1, -1), x], dim=1)
        unseen = None if padded is None else self._unseen(padded)
        states = [x]
        for block in self.blocks:
            states.append(block(states[-1], unseen))
        states[-1] = self.norm(states[-1])
        return states

    def embed(self, source: Tensor) -> Tensor:
        """source [batch, leads, samples] -> patches with their positions [batch, patches, dim]."""
        cfg = self.cfg
        if source.shape[1] != cfg.in_d or source.shape[2] < cfg.patch_size:
            raise ConfigError(
                f"source has shape {list(source.shape)}; expected [batch, {cfg.in_d} leads, {cfg.patch_size} samples "
                f"or more]. Set model.in_d={source.shape[1]}, or task.leads_to_load to {cfg.in_d} of them"
            )
        x = self.patch_embed(source)
        return x + self.positions(x.shape[1]).to(x.dtype)

    def padded_patches(self, source: Tensor, padding_mask: Tensor | None) -> Tensor | None:
        """padding_mask bool [batch, (leads,) samples] -> bool [batch, patches], True where no sample was recorded."""
        if padding_mask is None:
            return None
        padded = padding_mask if padding_mask.dim() == 2 else padding_mask.all(dim=1)
        return padded.unfold(1, self.cfg.patch_size, self.cfg.patch_size).all(dim=-1)

    def _unseen(self, padded: Tensor) -> Tensor:
        """[batch, tokens], True = not attended to: padding, no register; nothing in an item of padding alone."""
        unseen = padded & ~padded.all(dim=1, keepdim=True)
        return torch.cat([unseen.new_zeros(len(padded), self.cfg.num_registers), unseen], dim=1)

    def output(self, states: Sequence[Tensor], padded: Tensor | None) -> ModelOutput:
        """With registers, `registers` [batch, registers, dim] are no features, and pooled is the first of them."""
        count = self.cfg.num_registers
        if not count:
            return super().output(states, padded)
        x = states[-1]
        return ModelOutput(features=x[:, count:], registers=x[:, :count], pooled=x[:, 0], padding_mask=padded)
