"""Linear warm-up from 0, then linear to 0 at the last update, as Hugging Face's trainers do."""

import math
from dataclasses import dataclass

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.optim.schedule import WarmupSchedule
from ecg_signals.registry import register_lr_scheduler


@dataclass
class LinearScheduleConfig(BaseConfig):
    warmup_updates: int = option(0, "updates of linear warm-up; the first update has rate 0", least=0)
    warmup_ratio: float | None = option(None, "warm-up as a share of max_update, rounded up; wins over warmup_updates")
    max_update: float = option(0.0, "update at which the rate is 0", follows="optimization.max_update")
    lr: list[float] = option([0.25], "rate after the warm-up", follows="optimization.lr")


@register_lr_scheduler("linear", dataclass=LinearScheduleConfig)
class LinearSchedule(WarmupSchedule):
    def __init__(self, cfg: LinearScheduleConfig) -> None:
        super().__init__(cfg, cfg.warmup_updates)
        if cfg.warmup_ratio is not None:
            if not 0 <= cfg.warmup_ratio < 1:
                raise ConfigError(f"lr_scheduler.warmup_ratio is {cfg.warmup_ratio}; it must lie in [0, 1), as 0.08")
            self.warmup = math.ceil(cfg.warmup_ratio * cfg.max_update)
        self.fall = self.length("max_update")

    def after_warmup(self, updates: float) -> float:
        return self.peak * max(0.0, (self.fall - updates) / self.fall)
