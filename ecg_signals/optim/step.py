"""A learning rate that falls by a factor every so many updates."""

from dataclasses import dataclass

from ecg_signals.config import BaseConfig, option
from ecg_signals.optim.schedule import Schedule, single_rate, warmup_rate
from ecg_signals.registry import register_lr_scheduler

DEFAULT_PERIOD = 25000  # updates


@dataclass
class StepScheduleConfig(BaseConfig):
    warmup_updates: int = option(0, "updates of linear warm-up")
    warmup_init_lr: float = option(-1.0, "rate of the first update of the warm-up; negative: min_lr")
    min_lr: float = option(0.0, "smallest rate")
    lr_deacy_period: int = option(DEFAULT_PERIOD, "updates between two steps; fairseq-signals spells it so")
    lr_decay_period: int | None = option(None, "updates between two steps; wins over lr_deacy_period", ours=True)
    lr_decay: float = option(0.5, "factor of each step")
    lr: list[float] = option([0.25], "rate after the warm-up", follows="optimization.lr")


@register_lr_scheduler("step", dataclass=StepScheduleConfig)
class StepSchedule(Schedule):
    def __init__(self, cfg: StepScheduleConfig) -> None:
        super().__init__(cfg)
        self.cfg: StepScheduleConfig = cfg
        self.peak = single_rate("step", cfg.lr)
        self.start = cfg.min_lr if cfg.warmup_init_lr < 0 else cfg.warmup_init_lr
        self.period = cfg.lr_decay_period or cfg.lr_deacy_period

    def rate(self, num_updates: int, epoch: int) -> float:
        warmup = self.cfg.warmup_updates
        if num_updates < warmup:
            return warmup_rate(num_updates, warmup, self.start, self.peak)
        return max(self.peak * self.cfg.lr_decay ** ((num_updates - warmup) // self.period), self.cfg.min_lr)
