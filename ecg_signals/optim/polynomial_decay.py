"""Linear warm-up, then a polynomial fall to the final rate."""

from dataclasses import dataclass

from ecg_signals.config import BaseConfig, option
from ecg_signals.optim.schedule import WarmupSchedule
from ecg_signals.registry import register_lr_scheduler


@dataclass
class PolynomialDecayConfig(BaseConfig):
    warmup_updates: int = option(0, "updates of linear warm-up from 0", least=0)
    end_learning_rate: float = option(0.0, "rate at total_num_update and after", least=0)
    power: float = option(1.0, "exponent of the fall; 1 is linear", least=0)
    total_num_update: float = option(0.0, "update at which the rate stops falling", follows="optimization.max_update")
    lr: list[float] = option([0.25], "rate after the warm-up", follows="optimization.lr")


@register_lr_scheduler("polynomial_decay", dataclass=PolynomialDecayConfig)
class PolynomialDecay(WarmupSchedule):
    cfg: PolynomialDecayConfig

    def __init__(self, cfg: PolynomialDecayConfig) -> None:
        super().__init__(cfg, cfg.warmup_updates)
        self.fall = self.length("total_num_update")

    def after_warmup(self, updates: float) -> float:
        left = max(0.0, 1 - updates / self.fall)
        return (self.peak - self.cfg.end_learning_rate) * left**self.cfg.power + self.cfg.end_learning_rate
