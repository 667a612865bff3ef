"""A learning rate that falls by a factor every so many updates."""

from dataclasses import dataclass

from ecg_signals.config import BaseConfig, option
from ecg_signals.optim.schedule import WarmupSchedule
from ecg_signals.registry import register_lr_scheduler

DEFAULT_PERIOD = 25000  # updates


@dataclass
class StepScheduleConfig(BaseConfig):
    warmup_updates: int = option(0, "updates of linear warm-up", least=0)
    warmup_init_lr: float = option(-1.0, "rate of the first update of the warm-up; negative: min_lr")
    min_lr: float = option(0.0, "smallest rate", least=0)
    lr_deacy_period: int = option(DEFAULT_PERIOD, "updates between two steps; fairseq-signals spells it so", least=1)
    lr_decay_period: int | None = option(
        None, "updates between two steps; wins over lr_deacy_period", least=1, ours=True
    )
    lr_decay: float = option(0.5, "factor of each step", least=0)
    lr: list[float] = option([0.25], "rate after the warm-up", follows="optimization.lr")


@register_lr_scheduler("step", dataclass=StepScheduleConfig)
class StepSchedule(WarmupSchedule):
    cfg: StepScheduleConfig

    def __init__(self, cfg: StepScheduleConfig) -> None:
        super().__init__(cfg, cfg.warmup_updates, cfg.min_lr if cfg.warmup_init_lr < 0 else cfg.warmup_init_lr)
        self.period = cfg.lr_decay_period or cfg.lr_deacy_period

    def after_warmup(self, updates: float) -> float:
        return max(self.peak * self.cfg.lr_decay ** (updates // self.period), self.cfg.min_lr)
