"""Linear warm-up, then half a cosine that reaches its end at the last update."""

import math
from dataclasses import dataclass

from ecg_signals.config import BaseConfig, option
from ecg_signals.optim.schedule import WarmupSchedule
from ecg_signals.registry import register_lr_scheduler


def half_cosine(step: float, steps: float, first: float, last: float) -> float:
    """From `first` at step 0 to `last` at step `steps` - 1, and `last` behind `steps`."""
    if step > steps:
        return last
    return last + 0.5 * (1 + math.cos(math.pi * step / max(steps - 1, 1))) * (first - last)


@dataclass
class WarmupCosineConfig(BaseConfig):
    warmup_updates: int = option(0, "updates of linear warm-up", least=0)
    warmup_init_lr: float = option(0.0, "rate of the first update of the warm-up", least=0)
    min_lr: float = option(0.0, "rate of the last update and behind it", least=0)
    max_update: float = option(0.0, "updates in all", follows="optimization.max_update")
    lr: list[float] = option([0.25], "rate after the warm-up", follows="optimization.lr")


@register_lr_scheduler("warmup_cosine", dataclass=WarmupCosineConfig)
class WarmupCosine(WarmupSchedule):
    """`cosine` ends one update later, and begins anew there. A run may end within the warm-up."""

    def __init__(self, cfg: WarmupCosineConfig) -> None:
        super().__init__(cfg, cfg.warmup_updates, cfg.warmup_init_lr)
        self.last = cfg.min_lr
        self.fall = cfg.max_update - cfg.warmup_updates if cfg.max_update > 0 else self.length("max_update")

    def after_warmup(self, updates: float) -> float:
        return half_cosine(updates, self.fall, self.peak, self.last)
