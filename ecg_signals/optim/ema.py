"""An exponential moving average of a model's weights."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ecg_signals.config import ConfigError
from ecg_signals.runtime.collectives import own_part
from ecg_signals.sections import EmaConfig


@torch.no_grad()
def follow(averages: Mapping[str, Tensor], values: Mapping[str, Tensor], decay: float) -> None:
    """In place, average = decay * average + (1 - decay) * value of the same name; what is no fraction is copied."""
    fractions = [key for key, average in averages.items() if average.is_floating_point()]
    ends, targets = ([own_part(side[key]) for key in fractions] for side in (averages, values))
    torch._foreach_lerp_(ends, targets, 1 - decay)
    for key in averages.keys() - fractions:
        averages[key].copy_(values[key])


class WeightAverage:
    """After each step, average = decay * average + (1 - decay) * weights; buffers are copied."""

    def __init__(self, model: nn.Module, cfg: EmaConfig) -> None:
        if not 0 <= cfg.ema_decay <= 1:
            raise ConfigError(f"ema.ema_decay is {cfg.ema_decay}; it must lie between 0 and 1, such as 0.9999")
        if cfg.ema_update_freq < 1:
            raise ConfigError(f"ema.ema_update_freq is {cfg.ema_update_freq}; it must be at least 1")
        self.cfg = cfg
        self.weights = self._copy_of(model)

    def _copy_of(self, model: nn.Module) -> dict[str, Tensor]:
        return {key: self._stored(value.detach()).clone() for key, value in model.state_dict().items()}

    def _stored(self, value: Tensor) -> Tensor:
        return value.float() if self.cfg.ema_fp32 and value.is_floating_point() else value

    @torch.no_grad()
    def update(self, model: nn.Module, num_updates: int) -> None:
        """Call after the optimizer's step number `num_updates`."""
        if num_updates % self.cfg.ema_update_freq:
            return
        decay = self.cfg.ema_decay if num_updates >= self.cfg.ema_start_update else 0.0
        averaged = {key for key, value in model.named_parameters(remove_duplicate=False) if value.is_floating_point()}
        current = model.state_dict()
        keys = [key for key in self.weights if key in averaged]
        follow({key: self.weights[key] for key in keys}, {key: self._stored(current[key]) for key in keys}, decay)
        for key in self.weights.keys() - averaged:
            self.weights[key].copy_(current[key])

    def state_dict(self) -> dict[str, Tensor]:
        return dict(self.weights)

    def restart(self, model: nn.Module) -> None:
        """Start anew from the model's weights."""
        self.weights = self._copy_of(model)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Raises: ConfigError naming the weights that are missing or have another shape."""
        shapes = {key: value.shape for key, value in state.items()}
        wrong = sorted(key for key, value in self.weights.items() if shapes.get(key) != value.shape)
        if wrong:
            raise ConfigError(
                f"the stored average lacks, or has in another shape, {', '.join(wrong[:5])}; it belongs to another "
                f"model. Set checkpoint.reset_optimizer=true to start a new average"
            )
        for key, value in self.weights.items():
            value.copy_(state[key])
