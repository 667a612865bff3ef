"""Half a cosine from lr to min_lr, repeated with a shrinking amplitude when training goes on."""

import math
from dataclasses import dataclass

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.optim.schedule import WarmupSchedule
from ecg_signals.registry import register_lr_scheduler


@dataclass
class CosineScheduleConfig(BaseConfig):
    warmup_updates: int = option(0, "updates of linear warm-up", least=0)
    warmup_init_lr: float = option(-1.0, "rate of the first update of the warm-up; negative: min_lr")
    min_lr: float = option(0.0, "rate at the end of the first period", least=0)
    t_mult: float = option(1.0, "factor of the length from one period to the next", above=0)
    lr_period_updates: float = option(-1.0, "updates of the first period; negative: max_update without the warm-up")
    lr_shrink: float = option(0.1, "factor of both rates from one period to the next", least=0)
    warmup_epochs: float | None = option(
        None, "epochs of linear warm-up, from 0 unless warmup_init_lr says otherwise, then half a cosine to the end of "
        "max_epoch; wins over all in updates",
        least=0, ours=True,
    )  # fmt: skip
    max_epoch: int = option(0, "epochs in all, for warmup_epochs", follows="optimization.max_epoch", ours=True)
    max_update: float = option(0.0, "updates in all", follows="optimization.max_update")
    lr: list[float] = option([0.25], "rate after the warm-up", follows="optimization.lr")


@register_lr_scheduler("cosine", dataclass=CosineScheduleConfig)
class CosineSchedule(WarmupSchedule):
    cfg: CosineScheduleConfig

    def __init__(self, cfg: CosineScheduleConfig) -> None:
        super().__init__(cfg, cfg.warmup_updates, cfg.min_lr if cfg.warmup_init_lr < 0 else cfg.warmup_init_lr)
        if cfg.warmup_epochs is None:
            self.period = cfg.lr_period_updates if cfg.lr_period_updates > 0 else self.length("max_update")
            return
        if cfg.max_epoch <= cfg.warmup_epochs:
            raise ConfigError(
                f"lr_scheduler.warmup_epochs={cfg.warmup_epochs:g} needs an end behind it, but optimization.max_epoch="
                f"{cfg.max_epoch}; set optimization.max_epoch to more, or lr_scheduler.warmup_updates instead"
            )
        self.start = max(0.0, cfg.warmup_init_lr)
        self.set_epoch_length(1)

    @property
    def counts_epochs(self) -> bool:
        return self.cfg.warmup_epochs is not None

    def set_epoch_length(self, updates: int) -> None:
        if self.cfg.warmup_epochs is not None:
            self.warmup = self.cfg.warmup_epochs * updates
            self.period = self.cfg.max_epoch * updates - self.warmup

    def after_warmup(self, updates: float) -> float:
        cfg = self.cfg
        position, length, period = updates, self.period, 0
        if self.counts_epochs:
            position = min(position, length)  # it ends there
        elif cfg.t_mult == 1:
            period, position = int(position // length), position % length
        else:
            while position >= length and length >= 1:
                position, length, period = position - length, length * cfg.t_mult, period + 1
        shrink = cfg.lr_shrink**period
        low, high = cfg.min_lr * shrink, self.peak * shrink
        return low + 0.5 * (high - low) * (1 + math.cos(math.pi * position / length))
