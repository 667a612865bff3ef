"""cropa_vit: tokens are patches of single leads, and attend to those of the same lead or of the same time alone.

Kim 2024, Learning General Representation of 12-Lead Electrocardiogram with a Joint-Embedding Predictive Architecture,
arXiv:2410.08559.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.interop.ecg_jepa_kim.contract import EIGHT, ecg_jepa_kim, inputs
from ecg_signals.models.encoders.patches import PatchEncoder, whole_patches
from ecg_signals.modules.recompute import RECOMPUTE
from ecg_signals.modules.vit import VitBlock, initialise
from ecg_signals.registry import register_model
from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.leads import lead_places


@dataclass
class CropaVitConfig(BaseConfig):
    leads: list[str] = option(list(EIGHT), "names of the leads that it is built for, in order")
    patches: int = option(50, "patches of a lead at most, for which there are positions", least=1)
    patch_size: int = option(50, "samples per patch; what is left over at the end of the input is not seen", least=1)
    dim: int = option(768, "width of a token; a multiple of num_heads and of 4", least=4)
    depth: int = option(12, "blocks", least=1)
    num_heads: int = option(16, "attention heads per block", least=1)
    mlp_ratio: float = option(4.0, "width of a block's hidden layer over dim", above=0)
    drop_path: float = option(
        0.0, "chance that a branch of the last block is left out in training; it rises from 0", least=0, most=1
    )
    checkpoint_activations: bool = option(False, RECOMPUTE, ours=True)

    def __post_init__(self) -> None:
        if self.dim % self.num_heads or self.dim % 4:
            raise ConfigError(f"model.dim={self.dim} with model.num_heads={self.num_heads}; set a multiple of both it "
                              f"and 4")  # fmt: skip
        if not self.leads or len({lead.lower() for lead in self.leads}) < len(self.leads):
            raise ConfigError(f"model.leads={self.leads} is empty or names a lead twice; set other names")


def sines_in_turn(places: int, dim: int) -> Tensor:
    """[places, dim] float32: sin(p w) for all w = 10000^(-k / (dim / 2)), then cos(p w)."""
    rates = torch.exp(torch.arange(dim // 2, dtype=torch.float64) * (-math.log(10000.0) / (dim // 2)))
    angles = torch.arange(places, dtype=torch.float64)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()


def lead_and_time(leads: int, patches: int, dim: int) -> Tensor:
    """[leads * patches, dim] float32, lead by lead: half for the time, half for the lead."""
    time, lead = sines_in_turn(patches, dim // 2), sines_in_turn(leads, dim // 2)
    return torch.cat([time.repeat(leads, 1), lead.repeat_interleave(patches, dim=0)], dim=1)


def blocks_of(dim: int, depth: int, heads: int, mlp_ratio: float, drop_path: float) -> nn.ModuleList:
    chances = [drop_path * place / max(1, depth - 1) for place in range(depth)]
    return nn.ModuleList(
        VitBlock(dim, heads, int(mlp_ratio * dim), qkv_bias=False, drop_path=chance) for chance in chances
    )


def begin(root: nn.Module, blocks: nn.ModuleList) -> None:
    """Draw the weights below `root`; residual branches begin smaller from block to block."""
    initialise(root, 1, "truncated")
    with torch.no_grad():
        for place, block in enumerate(blocks):
            for name in ("attn.proj", "mlp.fc2"):
                block.get_parameter(f"{name}.weight").div_(math.sqrt(place + 1))  # `initialise` has put sqrt(2)


@register_model("cropa_vit", dataclass=CropaVitConfig)
class CropaVit(PatchEncoder):
    """Takes any of its leads, in any order: they are told apart by their names in the input contract."""

    cfg: CropaVitConfig
    encoder_name = "cropa_vit"
    ARCHITECTURE: ClassVar[tuple[str, ...]] = (
        "leads", "patches", "patch_size", "dim", "depth", "num_heads", "mlp_ratio",
    )  # fmt: skip

    def __init__(self, cfg: CropaVitConfig) -> None:
        super().__init__(cfg)
        places = lead_and_time(len(cfg.leads), cfg.patches, cfg.dim)
        self.pos_embed = nn.Parameter(places, requires_grad=False)  # fixed, but files hold it
        self.patch_embed = nn.Linear(cfg.patch_size, cfg.dim)
        self.blocks = blocks_of(cfg.dim, cfg.depth, cfg.num_heads, cfg.mlp_ratio, cfg.drop_path)
        self.norm = nn.LayerNorm(cfg.dim)
        begin(self, self.blocks)

    @property
    def early_parts(self) -> int:
        """The patches and blocks 0 to 2."""
        return min(4, self.cfg.depth + 1)

    @classmethod
    def usual_input(cls) -> SignalContract:
        return ecg_jepa_kim()

    @classmethod
    def inputs(cls, cfg: Any) -> dict[str, SignalContract]:
        return inputs(cfg.patches * cfg.patch_size, cfg.leads)

    def decays(self, name: str) -> bool:
        return self.get_parameter(name).dim() > 1

    def leads_of(self, count: int) -> list[int]:
        """The place of each row of an input among the options' leads."""
        return lead_places(count, self.cfg.leads, self.signal.leads if self.signal else None)

    def tokens(self, source: Tensor, padding_mask: Tensor | None) -> tuple[list[Tensor], Tensor | None]:
        """All patches of all leads, lead by lead."""
        return self.states(source, padding_mask, self.leads_of(source.shape[1]))

    def states(
        self, source: Tensor, padding_mask: Tensor | None, leads: Sequence[int], visible: Tensor | None = None
    ) -> tuple[list[Tensor], Tensor | None]:
        """The tokens before every block and after the last norm, [batch, tokens, dim], and which of them are padding.

        leads: places of the rows of `source`. visible: int64 [some], the only patches that are encoded, of every lead.
        """
        patches = self.patches(source)
        padded = None if padding_mask is None else self.padded(padding_mask, source)
        places = self.pos_embed.unflatten(0, (len(self.cfg.leads), self.cfg.patches))[list(leads), : patches.shape[2]]
        if visible is not None:
            patches, places = patches[:, :, visible], places[:, visible]
            padded = None if padded is None else padded[:, :, visible]
        padded = None if padded is None else padded.flatten(1)
        unseen = across(patches.shape[1], patches.shape[2], patches.device)
        if padded is not None:
            itself = torch.eye(padded.shape[1], dtype=torch.bool, device=padded.device)
            unseen = (unseen | padded[:, None]) & ~itself
        x, places = self.patch_embed(patches.flatten(1, 2)), places.flatten(0, 1)
        states = [x]
        for block in self.blocks:
            states.append(block(states[-1] + places.to(x.dtype), unseen))
        states[-1] = self.norm(states[-1])
        return states, padded

    def patches(self, source: Tensor) -> Tensor:
        """[batch, leads, samples] -> [batch, leads, patches, patch_size]. Raises: ConfigError for too short or long."""
        size = self.cfg.patch_size
        count = whole_patches(source.shape[-1], size, self.cfg.patches)
        return source[..., : count * size].unflatten(-1, (count, size))

    def padded(self, padding_mask: Tensor, source: Tensor) -> Tensor:
        """bool [batch, leads, patches], True where no sample was recorded."""
        mask = padding_mask if padding_mask.dim() == 3 else padding_mask[:, None]
        return self.patches(mask.expand(source.shape)).all(dim=-1)


def across(leads: int, patches: int, device: torch.device) -> Tensor:
    """bool [1, tokens, tokens], True where two tokens are of different leads and of different times."""
    place = torch.arange(leads * patches, device=device)
    lead, time = torch.div(place, patches, rounding_mode="floor"), place % patches
    return ((lead[:, None] != lead) & (time[:, None] != time))[None]
