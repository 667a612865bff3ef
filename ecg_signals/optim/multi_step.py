"""A learning rate that falls by a factor at each of some milestones."""

from dataclasses import dataclass

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.optim.schedule import Schedule
from ecg_signals.registry import register_lr_scheduler


@dataclass
class MultiStepConfig(BaseConfig):
    milestones: list[int] = option([40], "counts behind which the rate falls")
    lr_decay: float = option(0.1, "factor of each fall", least=0, most=1)
    counts: str = option(
        "epochs", "what is counted; both: updates and epochs together, as MERL's probe steps its schedule after each "
        "update and again after each epoch", choices=("epochs", "updates", "both"),
    )  # fmt: skip
    lr: list[float] = option([0.25], "rate before the first milestone", follows="optimization.lr")


@register_lr_scheduler("multi_step", dataclass=MultiStepConfig)
class MultiStep(Schedule):
    """As torch's MultiStepLR."""

    cfg: MultiStepConfig

    def __init__(self, cfg: MultiStepConfig) -> None:
        super().__init__(cfg)
        if len(cfg.lr) != 1:
            raise ConfigError(
                f"lr_scheduler=multi_step takes one learning rate, but optimization.lr is {cfg.lr}; set "
                f"optimization.lr=[VALUE], or lr_scheduler=fixed for one rate per epoch"
            )

    def rate(self, num_updates: int, epoch: int) -> float:
        cfg = self.cfg
        count = num_updates * (cfg.counts != "epochs") + (epoch - 1) * (cfg.counts != "updates")
        return float(cfg.lr[0]) * cfg.lr_decay ** sum(count >= milestone for milestone in cfg.milestones)
