"""What every learning-rate schedule is: a function of the update, told about epochs for `fixed`."""

from typing import Any

from ecg_signals.config import BaseConfig, ConfigError


class Schedule:
    """Built as `cls(cfg)`; pure: `rate(num_updates, epoch)` is the rate of the NEXT update."""

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

    def state_dict(self) -> dict[str, Any]:
        """What fairseq-signals stores for this schedule."""
        return {"best": None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore: the rate follows from the update and the epoch."""


def single_rate(name: str, rates: list[float]) -> float:
    """The one learning rate of a schedule that takes no list. Raises: ConfigError for none or several."""
    if len(rates) != 1:
        raise ConfigError(
            f"lr_scheduler={name} takes one learning rate, but optimization.lr is {rates}; "
            f"set optimization.lr=[VALUE], or lr_scheduler=fixed for one rate per epoch"
        )
    return rates[0]


def last_update(name: str, key: str, value: float, warmup: float) -> float:
    """The update at which a schedule ends. Raises: ConfigError when it is not known or lies within the warm-up."""
    if value <= warmup:
        raise ConfigError(
            f"lr_scheduler={name} must know when training ends, but lr_scheduler.{key} is {value:g} and the "
            f"warm-up takes {warmup:g} updates; set optimization.max_update or lr_scheduler.{key} to a larger number"
        )
    return value


def last_epoch(epochs: int, warmup: float) -> int:
    """The epochs of a schedule that is counted in them. Raises: ConfigError when they lie within the warm-up."""
    if epochs <= warmup:
        raise ConfigError(
            f"lr_scheduler.warmup_epochs={warmup:g} needs an end behind it, but optimization.max_epoch={epochs}; set "
            f"optimization.max_epoch to more, or lr_scheduler.warmup_updates instead"
        )
    return epochs


def warmup_rate(num_updates: float, warmup: float, start: float, end: float) -> float:
    """Linear from `start` at update 0 to `end` at update `warmup`."""
    return start + num_updates * (end - start) / warmup
