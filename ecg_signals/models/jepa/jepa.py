"""ECG-JEPA: from the few patches that an encoder sees, predict what an average of the encoder makes of the others.

Weimann and Conrad 2024, Self-supervised pre-training with joint-embedding predictive architecture boosts ECG
classification performance, arXiv:2410.13867; the idea is Assran et al. 2023, I-JEPA, arXiv:2301.08243.
"""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ecg_signals.config import ConfigError, option
from ecg_signals.interop.ecg_jepa.contract import ecg_jepa
from ecg_signals.models.base import BaseModel, ModelOutput
from ecg_signals.models.encoder import is_matrix
from ecg_signals.models.encoders.vit import (
    Positions,
    Vit,
    VitConfig,
    blocks_of,
    check_heads,
    norm_of,
    take_tokens,
)
from ecg_signals.models.jepa.masks import MaskRule
from ecg_signals.modules.compiling import not_compiled
from ecg_signals.modules.vit import drawn_token, initialise
from ecg_signals.optim.ema import follow
from ecg_signals.optim.warmup_cosine import half_cosine
from ecg_signals.registry import register_model
from ecg_signals.runtime.batch import sent
from ecg_signals.runtime.collectives import rank, world_size
from ecg_signals.signal.contract import SignalContract

MASK_ORDERS = ("rows_at_once", "published")
TARGET_UPDATES = ("after_update", "before_forward")


@dataclass
class JepaConfig(VitConfig):
    num_registers: int = option(1, "learned tokens before the patches", least=0)
    pred_dim: int = option(192, "width of the predictor; a multiple of pred_num_heads, even", least=2)
    pred_depth: int = option(8, "blocks of the predictor", least=1)
    pred_num_heads: int = option(6, "attention heads of its blocks", least=1)
    min_block_size: int = option(10, "patches of a masked block at least", least=1)
    min_keep_ratio: float = option(0.15, "share of patches that the encoder sees, at least", above=0, most=1)
    max_keep_ratio: float = option(0.25, "the same, at most; drawn for every batch", above=0, most=1)
    rotate_masks: bool = option(
        False, "turn every mask by a random number of patches; else a record's ends are seen more than its middle"
    )
    mask_order: str = option(
        "rows_at_once", "how masks are drawn; published: one by one, 20 times slower, the same chances",
        choices=MASK_ORDERS,
    )  # fmt: skip
    encoder_momentum: float = option(0.998, "share of the target encoder that stays, at first", least=0, most=1)
    final_encoder_momentum: float = option(0.9995, "the same at the last update; linear between", least=0, most=1)
    target_update: str = option(
        "after_update", "when the target encoder follows; published: before_forward, once per batch",
        choices=TARGET_UPDATES,
    )  # fmt: skip
    weight_decay: float = option(0.01, "at first, for weights of layers", follows="optimizer.weight_decay", least=0)
    final_weight_decay: float | None = option(None, "at the last update, on half a cosine; null: as at first", least=0)
    max_update: float = option(0.0, "updates that both schedules take", follows="optimization.max_update", least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_heads(self.pred_dim, self.pred_num_heads, "pred_dim", "pred_num_heads")


class Predictor(nn.Module):
    """Visible tokens -> what the target encoder makes of the masked patches; a narrow transformer."""

    def __init__(self, cfg: JepaConfig) -> None:
        super().__init__()
        width = cfg.pred_dim
        self.mask_token = drawn_token(1, width)
        self.embed = nn.Linear(cfg.dim, width, bias=cfg.bias)
        self.positions = Positions(width)
        self.blocks = blocks_of(cfg, width, cfg.pred_depth, cfg.pred_num_heads)
        self.norm = norm_of(cfg, width)
        self.proj = nn.Linear(width, cfg.dim, bias=cfg.bias)
        initialise(self, cfg.depth, cfg.init)

    def forward(self, context: Tensor, visible: Tensor, masked: Tensor) -> Tensor:
        """context [batch, k, dim] of the patches `visible` [batch, k] -> [batch, m, dim] for `masked` [batch, m]."""
        x = self.embed(context)
        places = self.positions(visible.shape[1] + masked.shape[1]).to(x.dtype)
        asked = self.mask_token.to(x.dtype) + places[masked]
        x = torch.cat([x + places[visible], asked], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.proj(self.norm(x[:, -masked.shape[1] :]))


@register_model("jepa", dataclass=JepaConfig)
class Jepa(BaseModel):
    """Without masking it is its target encoder, which is also what heads stand on."""

    cfg: JepaConfig
    encoder_class = Vit
    encoder_key = "target_encoder"

    def __init__(self, cfg: JepaConfig) -> None:
        super().__init__(cfg)
        self.rule = MaskRule(cfg.min_block_size, cfg.min_keep_ratio, cfg.max_keep_ratio, cfg.rotate_masks)
        self.encoder = Vit(cfg)
        self.predictor = Predictor(cfg)
        self.target_encoder = copy.deepcopy(self.encoder).requires_grad_(False)
        # target_update=before_forward: batches of training over all ranks, and how often the target encoder followed
        self.passes = self.followed = 0

    @property
    def dim(self) -> int:
        return self.cfg.dim

    @property
    def changes_weights_in_forward(self) -> bool:
        return self.cfg.target_update == "before_forward"

    @classmethod
    def usual_input(cls) -> SignalContract:
        return ecg_jepa()

    @classmethod
    def published_options(cls) -> dict[str, Any]:
        return {"target_update": "before_forward"}

    def forward(
        self,
        source: Tensor,
        padding_mask: Tensor | None = None,
        mask: bool = False,
        mask_encoder: Tensor | None = None,
        mask_predictor: Tensor | None = None,
    ) -> ModelOutput:
        """The target encoder's output (see `Vit`); with `mask`, also predictions of its masked patches.

        Args:
            source: [batch, leads, samples] as `signal.prepare` returns it: standardised and clipped.
            padding_mask: bool [batch, (leads,) samples], True = padding.
            mask: predict; `source` alone never masks.
            mask_encoder, mask_predictor: integers [batch, k] and [batch, m], the patches that are seen and the others,
                ascending; None draws them.
        Returns: with `mask` also predicted and target [batch, m, dim], mask_encoder, mask_predictor.
        """
        if not mask:
            return self.target_encoder(source, padding_mask)
        if self.training and self.cfg.target_update == "before_forward":
            self.follow_to(self.passes + rank() + 1)
            self.passes += world_size()
        with torch.no_grad():
            output = self.target_encoder(source, padding_mask)
        visible, masked = self.masks(source, mask_encoder, mask_predictor)
        tokens = self.encoder.states(source, padding_mask, visible)[-1]
        predicted = self.predictor(tokens[:, self.cfg.num_registers :], visible, masked)
        target = take_tokens(output["features"], masked)
        output.update(predicted=predicted, target=target, mask_encoder=visible, mask_predictor=masked)
        return output

    def extract_features(
        self, source: Tensor, padding_mask: Tensor | None = None, layers: str | None = None
    ) -> ModelOutput:
        return self.target_encoder.extract_features(source, padding_mask, layers)

    @not_compiled
    def masks(self, source: Tensor, visible: Tensor | None, masked: Tensor | None) -> tuple[Tensor, Tensor]:
        """Both, checked where they are given, else drawn from torch's generator."""
        rows, patches = len(source), source.shape[-1] // self.cfg.patch_size
        if visible is None and masked is None:
            seed = int(torch.randint(2**31, ()))
            if self.cfg.mask_order == "published":
                found = self.rule.draw_in_published_order(rows, patches, np.random.RandomState(seed))
            else:
                found = self.rule.draw(rows, patches, np.random.default_rng(seed))
            visible, masked = map(torch.from_numpy, found)
        elif visible is None or masked is None or visible.shape[1] + masked.shape[1] != patches:
            shapes = [None if given is None else list(given.shape) for given in (visible, masked)]
            raise ConfigError(
                f"mask_encoder and mask_predictor have the shapes {shapes[0]} and {shapes[1]}; together they must name "
                f"each of the {patches} patches of a row once"
            )
        return tuple(sent(indices, source.device, torch.int64) for indices in (visible, masked))  # type: ignore[return-value]

    def train(self, mode: bool = True) -> "Jepa":
        """The target encoder drops nothing out."""
        super().train(mode)
        self.target_encoder.eval()
        return self

    def param_groups(self, cfg: Any) -> list[dict[str, Any]]:
        """Weights of layers, whose decay follows a schedule, and the rest, which has none."""
        trained = [(name, weight) for name, weight in self.named_parameters() if weight.requires_grad]
        weights = [weight for name, weight in trained if is_matrix(name, weight)]
        rest = [weight for name, weight in trained if not is_matrix(name, weight)]
        groups = [{"params": weights, "use_weight_decay": True, "scheduled": ["weight_decay"]}]
        return [*groups, {"params": rest, "weight_decay": 0.0, "use_weight_decay": False}]

    def before_update(self, num_updates: int, optimizer: Any) -> None:
        self.follow_to(self.passes)
        for group in optimizer.param_groups:
            if group.get("use_weight_decay"):
                group["weight_decay"] = self.weight_decay(num_updates)

    def weight_decay(self, num_updates: int) -> float:
        """Of the update that follows `num_updates` updates."""
        first, last = self.cfg.weight_decay, self.cfg.final_weight_decay
        return first if last is None else half_cosine(num_updates, self.cfg.max_update, first, last)

    def momentum(self, step: int) -> float:
        """Share of the target encoder that stays at the `step`-th time it follows, from 0."""
        first, last, steps = self.cfg.encoder_momentum, self.cfg.final_encoder_momentum, self.cfg.max_update
        return first + (last - first) * step / steps if step < steps else last

    def after_update(self, num_updates: int) -> None:
        if self.cfg.target_update == "after_update":
            self.follow(num_updates)

    @not_compiled
    def follow_to(self, passes: int) -> None:
        """Follow once for every batch so far, as one process with all ranks' batches in turn does.

        Where an epoch ends before all ranks have a batch, those without one count as well.
        """
        while self.followed < passes:
            self.follow(self.followed)
            self.followed += 1

    @not_compiled
    def follow(self, step: int) -> None:
        """Bring the target encoder nearer to the encoder."""
        targets, weights = (dict(one.named_parameters()) for one in (self.target_encoder, self.encoder))
        follow(targets, weights, self.momentum(step))

    def training_state(self, optimizer: Any) -> dict[str, Any]:
        return {"passes": self.passes} if self.passes else {}

    def load_training_state(self, state: dict[str, Any], optimizer: Any) -> None:
        self.passes = self.followed = int(state.get("passes", 0))
