"""Linear warm-up, then a polynomial fall to the final rate."""

from dataclasses import dataclass

from ecg_signals.config import BaseConfig, option
from ecg_signals.optim.schedule import Schedule, last_update, single_rate
from ecg_signals.registry import register_lr_scheduler


@dataclass
class PolynomialDecayConfig(BaseConfig):
    warmup_updates: int = option(0, "updates of linear warm-up from 0")
    end_learning_rate: float = option(0.0, "rate at total_num_update and after")
    power: float = option(1.0, "exponent of the fall; 1 is linear")
    total_num_update: float = option(0.0, "update at which the rate stops falling", follows="optimization.max_update")
    lr: list[float] = option([0.25], "rate after the warm-up", follows="optimization.lr")


@register_lr_scheduler("polynomial_decay", dataclass=PolynomialDecayConfig)
class PolynomialDecay(Schedule):
    def __init__(self, cfg: PolynomialDecayConfig) -> None:
        super().__init__(cfg)
        self.cfg: PolynomialDecayConfig = cfg
        self.peak = single_rate("polynomial_decay", cfg.lr)
        self.total = last_update("polynomial_decay", "total_num_update", cfg.total_num_update, cfg.warmup_updates)

    def rate(self, num_updates: int, epoch: int) -> float:
        cfg = self.cfg
        if num_updates < cfg.warmup_updates:
            return self.peak * num_updates / cfg.warmup_updates
        left = max(0.0, 1 - (num_updates - cfg.warmup_updates) / (self.total - cfg.warmup_updates))
        return (self.peak - cfg.end_learning_rate) * left**cfg.power + cfg.end_learning_rate
