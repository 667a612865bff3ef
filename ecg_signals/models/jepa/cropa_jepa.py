"""ECG-JEPA of Kim: patches of the same times are hidden in all leads, and told, lead by lead, from the others.

Kim 2024, Learning General Representation of 12-Lead Electrocardiogram with a Joint-Embedding Predictive Architecture,
arXiv:2410.08559. It is not the ECG-JEPA of Weimann and Conrad, `jepa`.
"""

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecg_signals.config import ConfigError, option
from ecg_signals.models.base import BaseModel, ModelOutput
from ecg_signals.models.encoders.cropa_vit import CropaVit, CropaVitConfig, begin, blocks_of, sines_in_turn
from ecg_signals.modules.compiling import not_compiled
from ecg_signals.modules.vit import drawn_token
from ecg_signals.optim.ema import follow
from ecg_signals.registry import register_model
from ecg_signals.runtime.batch import sent
from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.leads import lead_places

SCALES = {"block": [0.175, 0.225], "random": [0.6, 0.7]}


@dataclass
class CropaJepaConfig(CropaVitConfig):
    drop_path: float = option(
        0.1, "chance that a branch of the last block is left out in training; it rises from 0", least=0, most=1
    )
    pred_dim: int = option(384, "width of the predictor; a multiple of pred_num_heads, even", least=2)
    pred_depth: int = option(6, "blocks of the predictor", least=1)
    pred_num_heads: int = option(12, "attention heads of its blocks", least=1)
    mask_type: str = option("block", "four blocks of patches are hidden, or single ones", choices=tuple(SCALES))
    mask_scale: list[float] | None = option(
        None, "share of the patches in a block, or of single ones, at least and at most; null: as published", least=0,
        most=1,
    )  # fmt: skip
    encoder_momentum: float = option(0.996, "share of the target encoder that stays, at first", least=0, most=1)
    final_encoder_momentum: float = option(1.0, "the same at the last update; linear between", least=0, most=1)
    max_update: float = option(0.0, "updates that this takes; 0: it stays as at first",
                               follows="optimization.max_update", least=0)  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pred_dim % self.pred_num_heads or self.pred_dim % 2:
            raise ConfigError(f"model.pred_dim={self.pred_dim} with model.pred_num_heads={self.pred_num_heads}; set an "
                              f"even multiple of the heads")  # fmt: skip
        if self.mask_scale is not None and (len(self.mask_scale) != 2 or self.mask_scale[0] > self.mask_scale[1]):
            raise ConfigError(f"model.mask_scale={self.mask_scale}; give the least and the largest share")


BLOCKS = 4  # of patches that mask_type=block hides; they may overlap


class LeadPredictor(nn.Module):
    """Visible tokens of a lead -> what the target encoder makes of its hidden ones; every lead by itself."""

    def __init__(self, cfg: CropaJepaConfig) -> None:
        super().__init__()
        width = cfg.pred_dim
        self.mask_token = drawn_token(1, width)
        self.pos_embed = nn.Parameter(sines_in_turn(cfg.patches, width), requires_grad=False)
        self.embed = nn.Linear(cfg.dim, width)
        self.blocks = blocks_of(width, cfg.pred_depth, cfg.pred_num_heads, cfg.mlp_ratio, cfg.drop_path)
        self.norm = nn.LayerNorm(width)
        self.proj = nn.Linear(width, cfg.dim)
        begin(self, self.blocks)

    def forward(self, context: Tensor, visible: Tensor, masked: Tensor, padded: Tensor | None) -> Tensor:
        """context [rows, k, dim] of the patches `visible` [k] -> [rows, m, dim] for `masked` [m].

        padded: bool [rows, k], visible ones that are padding.
        """
        asked = self.mask_token.to(context.dtype).expand(len(context), len(masked), -1)
        x = torch.cat([self.embed(context), asked.to(self.embed.weight.dtype)], dim=1)
        places = self.pos_embed[torch.cat([visible, masked])].to(x.dtype)
        unseen = None if padded is None else F.pad(padded, (0, len(masked)))
        for block in self.blocks:
            x = block(x + places, unseen)
        return self.proj(self.norm(x[:, -len(masked) :]))


@register_model("cropa_jepa", dataclass=CropaJepaConfig)
class CropaJepa(BaseModel):
    """Without masking it is its encoder, the one that learns: published files hold it, and heads stand on it."""

    cfg: CropaJepaConfig
    encoder_class = CropaVit

    def __init__(self, cfg: CropaJepaConfig) -> None:
        super().__init__(cfg)
        self.encoder = CropaVit(cfg)
        self.predictor = LeadPredictor(cfg)
        self.target_encoder = copy.deepcopy(self.encoder).requires_grad_(False)

    @property
    def dim(self) -> int:
        return self.cfg.dim

    @classmethod
    def usual_input(cls) -> SignalContract:
        return CropaVit.usual_input()

    def forward(
        self,
        source: Tensor,
        padding_mask: Tensor | None = None,
        mask: bool = False,
        mask_encoder: Tensor | None = None,
        mask_predictor: Tensor | None = None,
    ) -> ModelOutput:
        """The encoder's output (see `CropaVit`); with `mask` the target encoder's, and predictions of hidden patches.

        Args:
            source: [batch, leads, samples], mV.
            padding_mask: bool [batch, (leads,) samples], True = padding.
            mask: predict; `source` alone never masks.
            mask_encoder, mask_predictor: integers [k] and [m], the patches of every lead that are seen and those that
                are told; None draws them, the same ones for the whole batch.
        Returns: with `mask` also predicted and target [batch, leads * m, dim], and mask_predictor [batch, leads * m],
            the place of each among `features`.
        """
        if not mask:
            return self.extract_features(source, padding_mask)
        self.target_encoder.signal = self.signal
        with torch.no_grad():
            output = self.target_encoder(source, padding_mask)
        leads, patches = self.leads_of(source.shape[1]), source.shape[-1] // self.cfg.patch_size
        visible, masked = self.masks(source, patches, mask_encoder, mask_predictor)
        states, padded = self.encoder.states(source, padding_mask, leads, visible)
        rows = states[-1].unflatten(1, (len(leads), -1)).flatten(0, 1)
        hidden = None if padded is None else padded.unflatten(1, (len(leads), -1)).flatten(0, 1)
        told = self.predictor(rows, visible, masked, hidden)
        target = F.layer_norm(output["features"].float(), (self.cfg.dim,)).to(told.dtype)
        place = torch.arange(len(leads), device=masked.device)[:, None] * patches + masked
        output.update(predicted=told.unflatten(0, (len(source), -1)).flatten(1, 2), target=target[:, place.flatten()],
                      mask_predictor=place.flatten().expand(len(source), -1))  # fmt: skip
        return output

    def leads_of(self, count: int) -> list[int]:
        return lead_places(count, self.cfg.leads, self.signal.leads if self.signal else None)

    def extract_features(
        self, source: Tensor, padding_mask: Tensor | None = None, layers: str | None = None
    ) -> ModelOutput:
        self.encoder.signal = self.signal
        return self.encoder.extract_features(source, padding_mask, layers)

    @not_compiled
    def masks(
        self, source: Tensor, patches: int, visible: Tensor | None, masked: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Both, checked where they are given, else drawn from torch's generator."""
        if visible is None and masked is None:
            hidden = self.draw(patches)
            visible, masked = (~hidden).nonzero()[:, 0], hidden.nonzero()[:, 0]
        elif visible is None or masked is None or len(visible) + len(masked) != patches:
            shapes = [None if given is None else list(given.shape) for given in (visible, masked)]
            raise ConfigError(
                f"mask_encoder and mask_predictor have the shapes {shapes[0]} and {shapes[1]}; together they must name "
                f"each of the {patches} patches of a lead once"
            )
        return tuple(sent(indices, source.device, torch.int64) for indices in (visible, masked))  # type: ignore[return-value]

    def draw(self, patches: int) -> Tensor:
        """bool [patches], True = hidden; one at least is, and one at least is not."""
        if patches < 2:
            raise ConfigError(f"the input has {patches} patch; set model.patch_size to half its samples or less")
        low, high = self.cfg.mask_scale or SCALES[self.cfg.mask_type]
        hidden = torch.zeros(patches, dtype=torch.bool)
        shares = low + (high - low) * torch.rand(BLOCKS if self.cfg.mask_type == "block" else 1)
        if self.cfg.mask_type == "random":
            hidden[torch.randperm(patches)[: int(patches * float(shares))]] = True
        else:
            for length in (patches * shares).int().clamp(max=patches - 1).tolist():
                start = int(torch.randint(patches - length, ()))
                hidden[start : start + length] = True
        if hidden.all() or not hidden.any():
            hidden[torch.randint(patches, ())] ^= True
        return hidden

    def train(self, mode: bool = True) -> "CropaJepa":
        """The target encoder leaves nothing out."""
        super().train(mode)
        self.target_encoder.eval()
        return self

    def decays(self, name: str) -> bool:
        return self.get_parameter(name).dim() > 1

    def momentum(self, step: int) -> float:
        """Share of the target encoder that stays after the update `step`, from 0."""
        first, last, steps = self.cfg.encoder_momentum, self.cfg.final_encoder_momentum, self.cfg.max_update
        return first + (last - first) * min(1.0, step / steps) if steps else first

    @not_compiled
    def after_update(self, num_updates: int) -> None:
        targets, weights = (dict(one.named_parameters()) for one in (self.target_encoder, self.encoder))
        follow(targets, weights, self.momentum(num_updates))
