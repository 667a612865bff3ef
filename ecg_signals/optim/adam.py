"""fairseq's Adam: decoupled weight decay first, epsilon added before the bias correction of the second moment."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from inspect import unwrap
from typing import Any

import torch
from torch import Tensor

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.registry import register_optimizer
from ecg_signals.runtime.collectives import own_part


@dataclass
class AdamConfig(BaseConfig):
    adam_betas: tuple[float, float] = option((0.9, 0.999), "decay of the running mean and of the running square")
    adam_eps: float = option(1e-8, "added to the root of the running square")
    weight_decay: float = option(0.0, "share of a weight removed per update and unit of learning rate, biases included")
    lr: list[float] = option([1e-3], "learning rate; the first one counts", follows="optimization.lr")


class Uncompiled(torch.optim.Optimizer):
    """Without torch's wrappers of these methods: each imports the compiler, seconds of a start that needs none."""

    state_dict = unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = unwrap(torch.optim.Optimizer.load_state_dict)
    add_param_group = unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = unwrap(torch.optim.Optimizer.zero_grad)


class FromOptions(Uncompiled):
    """Goes before an Adam of torch's, which it makes of options; fused where the weights allow it."""

    def __init__(self, params: Iterable[Any], cfg: AdamConfig) -> None:
        check_adam_options(cfg.lr, cfg.adam_betas, cfg.adam_eps)
        options = {"lr": cfg.lr[0], "betas": tuple(cfg.adam_betas), "eps": cfg.adam_eps}
        super().__init__(params, **options, weight_decay=cfg.weight_decay, fused=True)  # type: ignore[call-arg,arg-type]


@register_optimizer("adam", dataclass=AdamConfig)
class Adam(Uncompiled):
    """With step t, gradient g, moments m and v (float32):

        p -= lr * weight_decay * p
        p -= lr * sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + eps)

    torch's AdamW adds eps after the bias correction instead. Its fused kernel is used here with
    eps / sqrt(1 - b2^t), which makes both the same. State: `step` (int), `exp_avg`, `exp_avg_sq`, as fairseq stores it.
    """

    _step_supports_amp_scaling = True  # as torch calls it: `found_inf` is heeded

    def __init__(self, params: Iterable[Any], cfg: AdamConfig) -> None:
        check_adam_options(cfg.lr, cfg.adam_betas, cfg.adam_eps)
        betas = tuple(cfg.adam_betas)
        defaults = {"lr": cfg.lr[0], "betas": betas, "eps": cfg.adam_eps, "weight_decay": cfg.weight_decay}
        super().__init__(params, {**defaults, "amsgrad": False})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient; gradients stay as they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for count, params in self._by_step(group["params"]).items():
                self._update(params, count, group)
        return loss

    def _by_step(self, params: list[Tensor]) -> dict[tuple[int, torch.device, torch.dtype], list[Tensor]]:
        """Parameters with gradients, by how often they were updated (frozen ones start later), device and type."""
        found: dict[tuple[int, torch.device, torch.dtype], list[Tensor]] = {}
        for param in params:
            if param.grad is None:
                continue
            state = self.state[param]
            if not state:
                state["step"] = 0
                state["exp_avg"] = torch.zeros_like(param, dtype=torch.float32)
                state["exp_avg_sq"] = torch.zeros_like(param, dtype=torch.float32)
            state["step"] = int(state["step"]) + 1
            found.setdefault((state["step"], param.device, param.dtype), []).append(param)
        return found

    def _update(self, params: list[Tensor], key: tuple[int, torch.device, torch.dtype], group: dict[str, Any]) -> None:
        step, device, dtype = key
        beta1, beta2 = group["betas"]
        weights = [own_part(param) for param in params]
        masters = weights if dtype == torch.float32 else [weight.float() for weight in weights]
        grads = [own_part(param.grad).float() for param in params]  # type: ignore[arg-type]
        torch._fused_adamw_(
            masters,
            list(map(_laid_out_like, weights, grads)),
            [own_part(self.state[param]["exp_avg"]) for param in params],
            [own_part(self.state[param]["exp_avg_sq"]) for param in params],
            [],
            list(torch.full((len(params),), float(step), device=device).unbind()),
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"] / (1 - beta2**step) ** 0.5,
            amsgrad=False,
            maximize=False,
            found_inf=getattr(self, "found_inf", None),  # 1 on the device: no step
        )
        if masters is not weights:  # half-precision weights without a float32 copy: computed in float32 on the fly
            torch._foreach_copy_(weights, masters)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch's, but the moments of half-precision weights stay float32."""
        super().load_state_dict(state_dict)
        for param, stored in self._stored_states(state_dict):
            if param.dtype != torch.float32:
                for name in ("exp_avg", "exp_avg_sq"):
                    self.state[param][name] = stored[name].to(param.device, torch.float32, copy=True)

    def _stored_states(self, state_dict: dict[str, Any]) -> Iterator[tuple[Tensor, dict[str, Any]]]:
        for group, saved in zip(self.param_groups, state_dict["param_groups"]):
            for param, index in zip(group["params"], saved["params"]):
                if index in state_dict["state"]:
                    yield param, state_dict["state"][index]


def _laid_out_like(param: Tensor, grad: Tensor) -> Tensor:
    """`grad` in the memory order of `param`, which the fused kernel takes for granted."""
    return grad if grad.stride() == param.stride() else torch.empty_like(param, dtype=grad.dtype).copy_(grad)


def check_adam_options(lr: list[float], betas: tuple[float, float], eps: float) -> None:
    """Raises: ConfigError for a negative, infinite or missing rate, betas outside [0, 1), a negative epsilon."""
    if not lr:
        raise ConfigError("optimization.lr is empty; set it, for example optimization.lr=[5e-5]")
    if not all(0 <= rate < math.inf for rate in lr):
        raise ConfigError(f"optimization.lr is {lr}; give numbers from 0 on, as in optimization.lr=[5e-5]")
    if not all(0 <= beta < 1 for beta in betas):
        raise ConfigError(
            f"optimizer.adam_betas is {tuple(betas)}; both must lie in [0, 1), as in optimizer.adam_betas=[0.9,0.98]"
        )
    if eps < 0:
        raise ConfigError(f"optimizer.adam_eps is {eps}; it must not be negative, as in optimizer.adam_eps=1e-8")
