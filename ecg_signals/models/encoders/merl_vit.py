"""merl_vit: a vision transformer over patches of all leads, read as the norm of their mean.

Liu et al. 2024, Zero-Shot ECG Classification with Multimodal Learning and Test-time Clinical Knowledge Enhancement,
arXiv:2403.06659.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ecg_signals.config import BaseConfig, option
from ecg_signals.interop.merl.contract import inputs, merl
from ecg_signals.models.base import ModelOutput
from ecg_signals.models.encoders.patches import PatchEncoder, whole_patches
from ecg_signals.models.encoders.residual import check_leads
from ecg_signals.modules.pooling import pool_frames
from ecg_signals.modules.recompute import RECOMPUTE
from ecg_signals.modules.vit import VitBlock
from ecg_signals.registry import register_model
from ecg_signals.signal.contract import SignalContract


@dataclass
class MerlVitConfig(BaseConfig):
    in_d: int = option(12, "leads", least=1)
    patches: int = option(100, "patches at most, for which there are positions", least=1)
    patch_size: int = option(50, "samples per patch; what is left over at the end of the input is not seen", least=1)
    dim: int = option(192, "width of a token; tiny 192, small 384, middle 512, base 768", least=1)
    depth: int = option(12, "blocks", least=1)
    num_heads: int = option(3, "attention heads per block; tiny 3, small 6, middle 8, base 12", least=1)
    head_dim: int = option(64, "width of a head", least=1)
    mlp_dim: int = option(768, "width of a block's hidden layer; tiny 768, small 1536, middle 2048, base 3072", least=1)
    checkpoint_activations: bool = option(False, RECOMPUTE, ours=True)


@register_model("merl_vit", dataclass=MerlVitConfig)
class MerlVit(PatchEncoder):
    cfg: MerlVitConfig
    EMBEDS = ("pos_embedding", "patch_embed")
    encoder_name = "merl_vit"
    ARCHITECTURE: ClassVar[tuple[str, ...]] = (
        "in_d", "patches", "patch_size", "dim", "depth", "num_heads", "head_dim", "mlp_dim",
    )  # fmt: skip

    def __init__(self, cfg: MerlVitConfig) -> None:
        super().__init__(cfg)
        self.pos_embedding = nn.Parameter(torch.randn(1, cfg.patches, cfg.dim))
        self.patch_embed = nn.Conv1d(cfg.in_d, cfg.dim, cfg.patch_size, stride=cfg.patch_size, bias=False)
        self.blocks = nn.ModuleList(
            VitBlock(cfg.dim, cfg.num_heads, cfg.mlp_dim, head_dim=cfg.head_dim) for _ in range(cfg.depth)
        )
        self.norm = nn.LayerNorm(cfg.dim)

    @classmethod
    def usual_input(cls) -> SignalContract:
        return merl()

    @classmethod
    def inputs(cls, cfg: Any) -> dict[str, SignalContract]:
        return inputs(cfg.in_d, cfg.patches * cfg.patch_size)

    def tokens(self, source: Tensor, padding_mask: Tensor | None) -> tuple[list[Tensor], Tensor | None]:
        cfg, size = self.cfg, self.cfg.patch_size
        check_leads(source, cfg.in_d, f"model.in_d to {source.shape[1]}")
        count = whole_patches(source.shape[-1], size, cfg.patches)
        padded = None
        if padding_mask is not None:
            mask = padding_mask if padding_mask.dim() == 2 else padding_mask.all(dim=1)
            padded = mask.unfold(1, size, size).all(dim=-1)
        states = [self.patch_embed(source).transpose(1, 2) + self.pos_embedding[:, :count]]
        unseen = None if padded is None else padded & ~padded.all(dim=1, keepdim=True)
        for block in self.blocks:
            states.append(block(states[-1], unseen))
        return states, padded

    def output(self, states: Sequence[Tensor], padded: Tensor | None) -> ModelOutput:
        """pooled is the norm of the tokens' mean before it."""
        pooled = self.norm(pool_frames(states[-1], padded))
        return ModelOutput(features=self.norm(states[-1]), pooled=pooled, padding_mask=padded)
