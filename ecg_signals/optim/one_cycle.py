"""One cycle: half a cosine up to lr, a longer one down to nearly nothing at the last update."""

from dataclasses import dataclass

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.optim.schedule import Schedule
from ecg_signals.optim.warmup_cosine import half_cosine
from ecg_signals.registry import register_lr_scheduler


@dataclass
class OneCycleConfig(BaseConfig):
    rise: float = option(0.3, "share of the updates in which the rate rises", least=0, most=1)
    first: float = option(25.0, "lr over the rate of the first update", above=0)
    last: float = option(250_000.0, "lr over the rate that the fall ends at, behind the last update", above=0)
    max_update: float = option(0.0, "updates in all; 0: max_epoch epochs", follows="optimization.max_update", least=0)
    max_epoch: int = option(0, "epochs in all, where max_update is 0", follows="optimization.max_epoch")
    lr: list[float] = option([0.25], "highest rate", follows="optimization.lr")


@register_lr_scheduler("one_cycle", dataclass=OneCycleConfig)
class OneCycle(Schedule):
    """Source: Smith 2018, arXiv:1803.09820, as fastai anneals it; Adam's betas stay."""

    cfg: OneCycleConfig

    def __init__(self, cfg: OneCycleConfig) -> None:
        super().__init__(cfg)
        if len(cfg.lr) != 1:
            raise ConfigError(
                f"lr_scheduler=one_cycle takes one learning rate, but optimization.lr is {cfg.lr}; set one"
            )
        if cfg.max_update <= 0 and cfg.max_epoch <= 0:
            raise ConfigError(
                "lr_scheduler=one_cycle must know when training ends; set optimization.max_epoch or .max_update"
            )
        self.length = cfg.max_update

    @property
    def counts_epochs(self) -> bool:
        return self.cfg.max_update <= 0

    def set_epoch_length(self, updates: int) -> None:
        self.length = updates * self.cfg.max_epoch

    def rate(self, num_updates: int, epoch: int) -> float:
        peak, rise = self.cfg.lr[0], int(self.length * self.cfg.rise)
        if num_updates < rise:
            return half_cosine(num_updates, rise + 1, peak / self.cfg.first, peak)
        fallen = min(num_updates, self.length) - rise
        return half_cosine(fallen, self.length - rise + 1, peak, peak / self.cfg.last)
