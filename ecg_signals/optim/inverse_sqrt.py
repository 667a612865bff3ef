"""Linear warm-up, then lr * sqrt(warmup / update)."""

import math
from dataclasses import dataclass

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.optim.schedule import WarmupSchedule
from ecg_signals.registry import register_lr_scheduler


@dataclass
class InverseSqrtConfig(BaseConfig):
    warmup_updates: int = option(4000, "updates of linear warm-up, at least 1")
    warmup_init_lr: float = option(-1.0, "rate of the first update; negative: 0")
    lr: list[float] = option([0.25], "rate after the warm-up", follows="optimization.lr")


@register_lr_scheduler("inverse_sqrt", dataclass=InverseSqrtConfig)
class InverseSqrtSchedule(WarmupSchedule):
    def __init__(self, cfg: InverseSqrtConfig) -> None:
        super().__init__(cfg, cfg.warmup_updates, max(cfg.warmup_init_lr, 0.0))
        if cfg.warmup_updates < 1:
            raise ConfigError(f"lr_scheduler.warmup_updates is {cfg.warmup_updates}; inverse_sqrt needs at least 1")

    def after_warmup(self, updates: float) -> float:
        return self.peak * math.sqrt(self.warmup / (self.warmup + updates))
