"""What every learning-rate schedule is: a function of the update and the epoch, some also of validation's scores."""

from abc import abstractmethod
from typing import Any, ClassVar

from ecg_signals.config import BaseConfig, ConfigError


class Schedule:
    """Built as `cls(cfg)`; `rate(num_updates, epoch)` is the rate of the NEXT update, whatever was asked before.

    Class attribute `needs_scores`: it follows validation's scores, see `after_epoch`.
    """

    needs_scores: ClassVar[bool] = False

    def __init__(self, cfg: BaseConfig) -> None:
        self.cfg = cfg

    @property
    def counts_epochs(self) -> bool:
        """Whether it has to be told how many updates an epoch has."""
        return False

    def set_epoch_length(self, updates: int) -> None:
        """Told the updates of the first epoch before training, where it `counts_epochs`."""

    def rate(self, num_updates: int, epoch: int) -> float:
        """Learning rate of the update that follows `num_updates` updates, in the epoch `epoch` (from 1)."""
        raise TypeError(f"{type(self).__name__} must define rate(num_updates, epoch)")

    def after_epoch(self, num_updates: int, score: float | None) -> None:
        """Told at the end of every epoch the score of its validation, None without one."""

    def state_dict(self) -> dict[str, Any]:
        """What checkpoints store of it, as plain values."""
        return {"best": None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict()`, maybe another schedule's; nothing where the rate follows from update and epoch."""


class WarmupSchedule(Schedule):
    """Linear from `start` at update 0 to `peak`, the one learning rate, at update `warmup`; then `after_warmup`.

    Raises: ConfigError for no learning rate or several.
    """

    def __init__(self, cfg: Any, warmup: float, start: float = 0.0) -> None:
        super().__init__(cfg)
        if len(cfg.lr) != 1:
            raise ConfigError(
                f"lr_scheduler={cfg._name} takes one learning rate, but optimization.lr is {cfg.lr}; "
                f"set optimization.lr=[VALUE], or lr_scheduler=fixed for one rate per epoch"
            )
        self.warmup, self.start, self.peak = warmup, start, float(cfg.lr[0])

    def rate(self, num_updates: int, epoch: int) -> float:
        if num_updates < self.warmup:
            return self.start + num_updates * (self.peak - self.start) / self.warmup
        return self.after_warmup(num_updates - self.warmup)

    @abstractmethod
    def after_warmup(self, updates: float) -> float:
        """The rate when `updates` updates were made since the warm-up."""

    def length(self, key: str) -> float:
        """Updates from the warm-up to the end that option `key` states. Raises: ConfigError when there are none."""
        end = getattr(self.cfg, key)
        if end <= self.warmup:
            raise ConfigError(
                f"lr_scheduler={self.cfg._name} must know when training ends, but lr_scheduler.{key} is {end:g} and "
                f"the warm-up takes {self.warmup:g} updates; set optimization.max_update or lr_scheduler.{key} to a "
                f"larger number"
            )
        return end - self.warmup
