"""A learning rate that shrinks when validation has stopped improving."""

import math
from dataclasses import dataclass
from typing import Any

from ecg_signals.config import BaseConfig, option
from ecg_signals.optim.schedule import WarmupSchedule
from ecg_signals.registry import register_lr_scheduler

SMALLEST_CHANGE = 1e-8  # of the rate; torch's, below which it stays


@dataclass
class ReduceLROnPlateauConfig(BaseConfig):
    lr_shrink: float = option(0.1, "factor of the rate at each plateau", above=0, most=1)
    lr_threshold: float = option(1e-4, "share of the best score by which a better one must differ", least=0)
    lr_patience: int = option(0, "epochs without a better score that are waited for", least=0)
    warmup_updates: int = option(0, "updates of linear warm-up, in which no score counts", least=0)
    warmup_init_lr: float = option(-1.0, "rate of the first update of the warm-up; negative: 0")
    maximize_best_checkpoint_metric: bool = option(
        False, "a larger score is better", follows="checkpoint.maximize_best_checkpoint_metric"
    )
    lr: list[float] = option([0.25], "rate after the warm-up", follows="optimization.lr")


@register_lr_scheduler("reduce_lr_on_plateau", dataclass=ReduceLROnPlateauConfig)
class ReduceLROnPlateau(WarmupSchedule):
    """As torch's schedule of that name, of checkpoint.best_checkpoint_metric in the first validation subset.

    An epoch without a validation, or whose score is not defined, counts for nothing.
    """

    cfg: ReduceLROnPlateauConfig
    needs_scores = True

    def __init__(self, cfg: ReduceLROnPlateauConfig) -> None:
        super().__init__(cfg, cfg.warmup_updates, max(cfg.warmup_init_lr, 0.0))
        self.best: float | None = None
        self.epochs_without, self.factor = 0, 1.0

    def after_warmup(self, updates: float) -> float:
        return self.peak * self.factor

    def after_epoch(self, num_updates: int, score: float | None) -> None:
        if score is None or math.isnan(score) or 0 < num_updates <= self.warmup:
            return
        if self.best is None or self._is_better(score, self.best):
            self.best, self.epochs_without = score, 0
            return
        self.epochs_without += 1
        if self.epochs_without > self.cfg.lr_patience:
            self.epochs_without = 0
            if self.peak * self.factor * (1 - self.cfg.lr_shrink) > SMALLEST_CHANGE:
                self.factor *= self.cfg.lr_shrink

    def _is_better(self, score: float, best: float) -> bool:
        if self.cfg.maximize_best_checkpoint_metric:
            return score > best * (1 + self.cfg.lr_threshold)
        return score < best * (1 - self.cfg.lr_threshold)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "epochs_without": self.epochs_without, "factor": self.factor}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Of another schedule's state nothing is taken."""
        if "factor" in state:
            self.best, self.epochs_without, self.factor = state["best"], state["epochs_without"], state["factor"]
