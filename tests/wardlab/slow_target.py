"""A family's objective: masked frames are predicted as a slow copy of the encoder sees them.

Assran et al. 2023, arXiv:2301.08243, in its smallest form: the target is a moving average, weight decay has a schedule.
"""

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ecg_signals.config import BaseConfig, option
from ecg_signals.models.base import BaseModel, ModelOutput
from ecg_signals.registry import register_model


@dataclass
class SlowTargetConfig(BaseConfig):
    width: int = option(8, "channels of a frame")
    depth: int = option(2, "blocks")
    momentum: float = option(0.9, "share of the target that stays at an update")
    weight_decay_end: float = option(0.4, "weight decay from update 4 on; it grows from 0")
    target: bool = option(True, "hold the slow copy, which pretraining alone needs")


@register_model("slow_target", dataclass=SlowTargetConfig)
class SlowTarget(BaseModel):
    AS_ENCODER: ClassVar[dict[str, Any]] = {"target": False}

    cfg: SlowTargetConfig

    def __init__(self, cfg: SlowTargetConfig) -> None:
        super().__init__(cfg)
        self.stem = nn.Conv1d(12, cfg.width, 25, stride=25)
        self.blocks = nn.ModuleList(nn.Linear(cfg.width, cfg.width) for _ in range(cfg.depth))
        if cfg.target:
            self.predictor = nn.Linear(cfg.width, cfg.width)
            self.slow = copy.deepcopy(nn.ModuleList([self.stem, *self.blocks])).requires_grad_(False)

    @property
    def dim(self) -> int:
        return self.cfg.width

    def parts(self) -> list[tuple[str, ...]]:
        return [("stem",), *((f"blocks.{number}",) for number in range(self.cfg.depth))]

    def forward(self, source: Tensor, padding_mask: Tensor | None = None, mask: bool = False) -> ModelOutput:
        """source [batch, leads, samples] -> features [batch, frames, width]; `mask`: half the frames hidden."""
        x = self.stem(source).transpose(1, 2)
        hidden = torch.rand(x.shape[:2], device=x.device) < 0.5 if mask else None
        x = _through(self.blocks, x if hidden is None else x.masked_fill(hidden[..., None], 0.0))
        output = ModelOutput(features=x, pooled=x.mean(dim=1))
        if hidden is not None:
            with torch.no_grad():
                stem, *blocks = self.slow
                target = _through(blocks, stem(source).transpose(1, 2))
            output.update(prediction=self.predictor(x)[hidden], target=target[hidden])
        return output

    def before_update(self, num_updates: int, optimizer: Any) -> None:
        for group in optimizer.param_groups:
            group["weight_decay"] = self.cfg.weight_decay_end * min(1.0, num_updates / 4)

    @torch.no_grad()
    def after_update(self, num_updates: int) -> None:
        if self.cfg.target:
            for slow, fast in zip(self.slow.parameters(), nn.ModuleList([self.stem, *self.blocks]).parameters()):
                slow.lerp_(fast, 1 - self.cfg.momentum)


def _through(blocks: Any, x: Tensor) -> Tensor:
    for block in blocks:
        x = x + torch.tanh(block(x))
    return x
