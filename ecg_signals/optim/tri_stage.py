"""Warm up, hold, decay exponentially: the schedule of wav2vec 2.0 fine-tuning."""

import math
from dataclasses import dataclass

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.optim.schedule import WarmupSchedule
from ecg_signals.registry import register_lr_scheduler


@dataclass
class TriStageScheduleConfig(BaseConfig):
    warmup_steps: int = option(0, "updates of linear warm-up", least=0)
    hold_steps: int = option(0, "updates at the full rate", least=0)
    decay_steps: int = option(0, "updates of exponential decay", least=0)
    phase_ratio: list[float] | None = option(
        None, "shares of max_update of the phases, with sum 1; wins over them", least=0
    )
    init_lr_scale: float = option(0.01, "first rate as a share of lr", least=0)
    final_lr_scale: float = option(0.01, "last rate as a share of lr")
    max_update: float = option(0.0, "updates in all, for phase_ratio", follows="optimization.max_update")
    lr: list[float] = option([0.25], "rate of the middle phase", follows="optimization.lr")


@register_lr_scheduler("tri_stage", dataclass=TriStageScheduleConfig)
class TriStageSchedule(WarmupSchedule):
    cfg: TriStageScheduleConfig

    def __init__(self, cfg: TriStageScheduleConfig) -> None:
        warmup, self.hold, self.decay = phase_lengths(cfg)
        super().__init__(cfg, warmup)
        self.start = cfg.init_lr_scale * self.peak
        if self.decay and cfg.final_lr_scale <= 0:
            raise ConfigError(
                f"lr_scheduler.final_lr_scale is {cfg.final_lr_scale}; an exponential decay never reaches 0, so set a "
                f"positive share such as lr_scheduler.final_lr_scale=0.01"
            )

    def after_warmup(self, updates: float) -> float:
        cfg, decayed = self.cfg, updates - self.hold
        if decayed < 0 or (decayed == 0 and self.decay):
            return self.peak
        if decayed <= self.decay and self.decay:
            return self.peak * math.exp(math.log(cfg.final_lr_scale) / self.decay * decayed)
        return self.peak * cfg.final_lr_scale


def phase_lengths(cfg: TriStageScheduleConfig) -> tuple[int, int, int]:
    """Updates of warm-up, hold and decay. Raises: ConfigError when phase_ratio cannot be turned into updates."""
    if cfg.phase_ratio is None:
        return cfg.warmup_steps, cfg.hold_steps, cfg.decay_steps
    if len(cfg.phase_ratio) != 3 or not math.isclose(sum(cfg.phase_ratio), 1.0, abs_tol=1e-6):
        raise ConfigError(
            f"lr_scheduler.phase_ratio is {cfg.phase_ratio} with sum {sum(cfg.phase_ratio):g}; expected three shares "
            f"with sum 1, as in lr_scheduler.phase_ratio=[0.1,0.4,0.5]"
        )
    if cfg.max_update <= 0:
        raise ConfigError(
            f"lr_scheduler.phase_ratio needs the number of updates, but optimization.max_update is {cfg.max_update:g}; "
            f"set optimization.max_update=N"
        )
    warmup, hold, decay = (int(cfg.max_update * share) for share in cfg.phase_ratio)
    return warmup, hold, decay
