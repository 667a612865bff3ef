"""The dynamic loss scale of half-precision training."""

from dataclasses import dataclass
from typing import Any

from ecg_signals.config import ConfigError
from ecg_signals.sections import CommonConfig


@dataclass
class LossScaler:
    """Doubles the scale after `window` updates without overflow, halves it on overflow.

    Args:
        init_scale: first scale.
        window: updates without overflow before the scale doubles; 0 never.
        tolerance: share of overflows since the last change that is tolerated before the scale is halved, 0 to 1.
        threshold: the scale is never halved below this; None no limit.
        min_scale: falling to it ends training.
    """

    init_scale: float = 128.0
    window: int = 2000
    tolerance: float = 0.0
    threshold: float | None = None
    min_scale: float = 1e-4

    def __post_init__(self) -> None:
        self.scale = float(self.init_scale)
        self.attempts, self.last_overflow, self.last_change = 0, -1, -1
        self.overflows = 0  # since the last change

    @classmethod
    def from_config(cls, common: CommonConfig, update_freq: list[int], world_size: int) -> "LossScaler":
        """The recipe's scaler; without `fp16_scale_window` the window is 2^14 batches, counted over ranks."""
        window = common.fp16_scale_window
        if window is None:
            if len(update_freq) > 1:
                raise ConfigError(
                    f"optimization.update_freq={update_freq} changes over the epochs, so the window of the loss scale "
                    f"must be given: set common.fp16_scale_window=N updates"
                )
            window = int(2**14 / world_size / update_freq[0])
        return cls(
            init_scale=common.fp16_init_scale,
            window=window,
            tolerance=common.fp16_scale_tolerance,
            threshold=common.threshold_loss_scale,
            min_scale=common.min_loss_scale,
        )

    def update(self, overflow: bool) -> bool:
        """Take note of one attempted update. Returns True when it must be skipped.

        Raises: FloatingPointError when the scale would fall to `min_scale`; the scale stays as it was.
        """
        if overflow:
            self._overflowed()
        elif self.window > 0 and (self.attempts - self.last_overflow) % self.window == 0:
            self.scale *= 2.0
            self.last_change = self.attempts
        self.attempts += 1
        return overflow

    def _overflowed(self) -> None:
        self.last_overflow = self.attempts
        self.overflows += 1
        if self.overflows / (self.attempts - self.last_change) < self.tolerance:
            return
        smaller = self.scale / 2.0 if self.threshold is None else max(self.scale / 2.0, self.threshold)
        if smaller <= self.min_scale:
            raise FloatingPointError(
                f"the loss scale would fall to {smaller:g}, and common.min_loss_scale is {self.min_scale:g}: the loss "
                f"is probably diverging. Lower optimization.lr, set optimization.clip_norm or common.bf16=true"
            )
        self.scale = smaller
        self.last_change = self.attempts
        self.overflows = 0

    def state_dict(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in ("scale", "attempts", "last_overflow", "last_change", "overflows")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict()`; a state holding only `scale`, as fairseq-signals stores it, restarts the counters."""
        self.scale = float(state["scale"])
        self.attempts = int(state.get("attempts", 0))
        self.last_overflow = int(state.get("last_overflow", -1))
        self.last_change = int(state.get("last_change", -1))
        self.overflows = int(state.get("overflows", 0))
