"""What every learning-rate schedule is: a function of the update, told about epochs for `fixed`."""

from typing import Any

from ecg_signals.config import BaseConfig


class Schedule:
    """Built as `cls(cfg)`; pure: `rate(num_updates, epoch)` is the rate of the NEXT update."""

    def __init__(self, cfg: BaseConfig) -> None:
        self.cfg = cfg

    def rate(self, num_updates: int, epoch: int) -> float:
        """Learning rate of the update that follows `num_updates` updates, in the epoch `epoch` (from 1)."""
        raise TypeError(f"{type(self).__name__} must define rate(num_updates, epoch)")

    def state_dict(self) -> dict[str, Any]:
        """What fairseq-signals stores for this schedule."""
        return {"best": None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore: the rate follows from the update and the epoch."""
