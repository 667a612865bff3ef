"""Linear warm-up, then lr * sqrt(warmup / update)."""

import math
from dataclasses import dataclass

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.optim.schedule import Schedule, single_rate, warmup_rate
from ecg_signals.registry import register_lr_scheduler


@dataclass
class InverseSqrtConfig(BaseConfig):
    warmup_updates: int = option(4000, "updates of linear warm-up, at least 1")
    warmup_init_lr: float = option(-1.0, "rate of the first update; negative: 0")
    lr: list[float] = option([0.25], "rate after the warm-up", follows="optimization.lr")


@register_lr_scheduler("inverse_sqrt", dataclass=InverseSqrtConfig)
class InverseSqrtSchedule(Schedule):
    def __init__(self, cfg: InverseSqrtConfig) -> None:
        super().__init__(cfg)
        if cfg.warmup_updates < 1:
            raise ConfigError(f"lr_scheduler.warmup_updates is {cfg.warmup_updates}; inverse_sqrt needs at least 1")
        self.warmup = cfg.warmup_updates
        self.peak = single_rate("inverse_sqrt", cfg.lr)
        self.start = max(cfg.warmup_init_lr, 0.0)

    def rate(self, num_updates: int, epoch: int) -> float:
        if num_updates < self.warmup:
            return warmup_rate(num_updates, self.warmup, self.start, self.peak)
        return self.peak * math.sqrt(self.warmup / num_updates)
