"""The numbers of an update: how its gradient is divided and clipped, on the host or on the device."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ecg_signals.data.batching import Batch
from ecg_signals.metrics.tally import Reading


@dataclass
class Rule:
    """What a summed gradient becomes: divided by the sample_size of all batches and ranks, then clipped.

    Args:
        ranks: whose gradients were averaged.
        clip_norm: 0 for no limit.
    """

    ranks: int
    clip_norm: float

    def on_host(self, sums: dict[str, float], norm: float, scale: float) -> "Seen":
        """Args:
            sums: what the update logged.
            norm: of the gradient as it came out of the backward passes.
            scale: what the loss was multiplied by.
        """
        divide = self.ranks / ((sums["sample_size"] or 1.0) * scale)
        gnorm = norm * divide
        clip = min(1.0, self.clip_norm / (gnorm + 1e-6)) if self.clip_norm > 0 else 1.0
        return Seen(sums, divide * clip, gnorm, clip < 1.0)

    def on_device(self, norm: Tensor, sample_size: float | Tensor) -> tuple[Tensor, Tensor]:
        """The factor, and whether the gradient is finite; the numbers of `on_host`, which nobody waits for."""
        size = torch.as_tensor(sample_size, dtype=torch.float64)
        divide = self.ranks / torch.where(size == 0, 1.0, size)
        gnorm = norm.double() * divide
        clip = (self.clip_norm / (gnorm + 1e-6)).clamp(max=1.0) if self.clip_norm > 0 else 1.0
        return (divide * clip).float(), gnorm.isfinite()


@dataclass
class Seen:
    """The numbers of an update: what it logged, the factor of its gradient, the norm that was clipped or not."""

    sums: dict[str, float]
    factor: float
    gnorm: float
    clipped: bool


@dataclass
class Update:
    """One that was made; its numbers may still be on their way from the device."""

    number: int
    batches: list[Batch | None]
    reading: Reading
    waited: float
    seconds: float = 0.0


@dataclass
class Unread:
    """Updates that were made before their numbers were read; the host is at most one of them ahead.

    The device itself leaves out the step of a gradient that is not finite, and all steps after it, until the host
    finds out: the weights stay those before it.

    Args:
        settle: takes note of an update, in order.
    """

    settle: Callable[[Update], Any]
    updates: list[Update] = field(default_factory=list)
    failed: Tensor | None = None

    def failing(self, finite: Tensor) -> Tensor:
        """float [] of the device, 1 from the first gradient on that was not finite."""
        now = (~finite).float()
        self.failed = now if self.failed is None else torch.maximum(self.failed, now)
        return self.failed

    def read(self, leave: int) -> None:
        """Settle all but the latest `leave` updates."""
        while len(self.updates) > leave:
            self.settle(self.updates.pop(0))


def can_skip(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the optimizer leaves out a step on the device where its `found_inf` is 1, as torch's fused ones do."""
    return bool(getattr(optimizer, "_step_supports_amp_scaling", False))
