"""One learning rate per epoch, with a linear warm-up and an exponential tail."""

from dataclasses import dataclass
from typing import Any

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.optim.schedule import Schedule
from ecg_signals.registry import register_lr_scheduler


@dataclass
class FixedScheduleConfig(BaseConfig):
    warmup_updates: int = option(0, "updates of linear warm-up; the first one already has lr / warmup_updates", least=0)
    force_anneal: int | None = option(None, "epoch from which the last rate shrinks every epoch; None never")
    lr_shrink: float = option(0.1, "factor per epoch from force_anneal on", least=0)
    lr: list[float] = option([0.25], "rate of epoch 1, 2, ...; the last one stays", follows="optimization.lr")


@register_lr_scheduler("fixed", dataclass=FixedScheduleConfig)
class FixedSchedule(Schedule):
    cfg: FixedScheduleConfig

    def __init__(self, cfg: FixedScheduleConfig) -> None:
        super().__init__(cfg)
        if not cfg.lr:
            raise ConfigError("optimization.lr is empty; set it, for example optimization.lr=[5e-5]")
        self._lr = cfg.lr[0]  # rate of the epoch last asked for, kept for `state_dict` only

    def rate(self, num_updates: int, epoch: int) -> float:
        cfg = self.cfg
        if cfg.force_anneal is None or epoch < cfg.force_anneal:
            self._lr = cfg.lr[min(epoch - 1, len(cfg.lr) - 1)]
        else:
            self._lr = cfg.lr[-1] * cfg.lr_shrink ** (epoch + 1 - cfg.force_anneal)
        if num_updates < cfg.warmup_updates:
            return self._lr * ((num_updates + 1) / cfg.warmup_updates)
        return self._lr

    def state_dict(self) -> dict[str, Any]:
        return {"lr": self._lr}
