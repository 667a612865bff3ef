"""What models share whose views are compared with those of a moving average of themselves."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ecg_signals.config import ConfigError, option
from ecg_signals.models.base import ModelOutput
from ecg_signals.models.contrastive.views import Views, ViewsOptions
from ecg_signals.modules.compiling import not_compiled
from ecg_signals.modules.pooling import pool_output
from ecg_signals.optim.ema import follow
from ecg_signals.optim.warmup_cosine import half_cosine

AVERAGED = ("all", "weights")


@dataclass
class MomentumOptions(ViewsOptions):
    encoder_momentum: float = option(0.996, "share of the moving average that stays, at first", least=0, most=1)
    final_encoder_momentum: float = option(
        1.0, "the same behind the last update, on half a cosine; as at first: always the same", least=0, most=1
    )
    averaged: str = option(
        "all", "what follows: all parameters and buffers, or, published for BYOL, parameters with weight in their name",
        choices=AVERAGED,
    )  # fmt: skip
    max_update: float = option(0.0, "updates that the momentum takes", follows="optimization.max_update", least=0)


class Momentum(Views):
    """`target_encoder` and `target_projector` follow `encoder` and `projector` after every update.

    In training they are in training mode as well: their batch norms see the batch.
    """

    cfg: Any

    def __init__(self, cfg: MomentumOptions) -> None:
        super().__init__(cfg)
        self.predictor = self.make_predictor()
        self.target_encoder = copy.deepcopy(self.encoder)
        self.target_projector = copy.deepcopy(self.projector)
        self.hold()

    def make_predictor(self) -> nn.Module:
        """[views, out_dim] -> [views, out_dim]."""
        return nn.Identity()

    def trains(self, name: str) -> bool:
        return not name.startswith("target_")

    def forward(  # type: ignore[override]
        self, source: Tensor, padding_mask: Tensor | None = None, compare: bool = False
    ) -> ModelOutput:
        """source [views, leads, samples] -> what the encoder gives, and `projected` [views, out_dim].

        Args:
            compare: also `predicted`, from `projected`, and `target`, of the averages; both [views, out_dim].
        """
        output = super().forward(source, padding_mask)
        if compare:
            output.update(predicted=self.predictor(output["projected"]), target=self.target(source, padding_mask))
        return output

    @torch.no_grad()
    def target(self, source: Tensor, padding_mask: Tensor | None) -> Tensor:
        """[views, out_dim] of the averages, without a gradient."""
        return self.target_projector(pool_output(self.target_encoder(source, padding_mask), self.cfg.pool))

    def param_groups(self, cfg: Any) -> list[dict[str, Any]]:
        own = self.cfg
        if own.encoder_momentum != own.final_encoder_momentum and not own.max_update:
            raise ConfigError(
                f"model.encoder_momentum goes from {own.encoder_momentum:g} to {own.final_encoder_momentum:g} at the "
                f"last update, but optimization.max_update=0; set it, or model.final_encoder_momentum="
                f"{own.encoder_momentum:g}"
            )
        return super().param_groups(cfg)

    def momentum(self, updates: int) -> float:
        """Share of the averages that stays in the update that follows `updates` updates."""
        first, last = self.cfg.encoder_momentum, self.cfg.final_encoder_momentum
        return first if first == last else half_cosine(updates, self.cfg.max_update + 1, first, last)

    @not_compiled
    def after_update(self, num_updates: int) -> None:
        for average, module in (self.target_encoder, self.encoder), (self.target_projector, self.projector):
            follow(self.followed(average), self.followed(module), self.momentum(num_updates - 1))

    def followed(self, module: nn.Module) -> Mapping[str, Tensor]:
        """What is averaged, by name; weights that are shared once."""
        parameters = dict(module.named_parameters())
        if self.cfg.averaged == "weights":
            return {name: value for name, value in parameters.items() if "weight" in name}
        return {**parameters, **dict(module.named_buffers())}
