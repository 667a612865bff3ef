"""How the ranks of a run share one model. The trainer knows `Strategy` alone: one more way is one more class."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ecg_signals.config import ConfigError
from ecg_signals.runtime.collectives import sum_over_ranks, world_size
from ecg_signals.sections import CommonConfig, DistributedTrainingConfig

Load = Callable[[Any, dict[str, Any]], Any]  # gives a model, a criterion, an optimizer or an average its state


def load_whole(owner: Any, state: dict[str, Any]) -> None:
    """Where one process holds the whole of what is loaded."""
    owner.load_state_dict(state)


class Strategy:
    """One rank alone, which holds the whole model.

    Args:
        section: the recipe's `distributed_training`.
        device: where this rank computes.
        common: the recipe's section of that name, for precision and `compile`; None: float32, not compiled.
    """

    def __init__(
        self, section: DistributedTrainingConfig, device: torch.device, common: CommonConfig | None = None
    ) -> None:
        self.section, self.device, self.common = section, device, common or CommonConfig()

    def setup(self, model: nn.Module) -> nn.Module:
        """The model as the criterion calls it; before the optimizer is built of its parameters."""
        called: Any = torch.compile(model) if self.common.compile else model
        return called

    @contextmanager
    def synchronised(self, last: bool) -> Iterator[None]:
        """Around the passes over one batch: ranks exchange gradients in the `last` batch of an update only."""
        yield

    def whole(self) -> AbstractContextManager[None]:
        """Around passes without gradients, of which ranks may make different numbers, and calls of parts of a model."""
        return nullcontext()

    def average(self, parameters: Sequence[nn.Parameter]) -> None:
        """Average over ranks the gradients of parameters that `setup` did not see, such as a criterion's."""

    def grad_norm(self, parameters: Sequence[nn.Parameter]) -> Tensor:
        """[] the norm of all gradients together, of every rank's part of them."""
        grads = gradients(parameters)
        if not grads:
            return torch.zeros((), device=self.device)
        return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))

    def scale_gradients(self, parameters: Sequence[nn.Parameter], factor: float | Tensor) -> None:
        if isinstance(factor, Tensor) or factor != 1.0:
            torch._foreach_mul_(gradients(parameters), factor)

    def gather_state(self, state: dict[str, Any]) -> dict[str, Any]:
        """Nested states as a checkpoint gets them, every tensor whole on the rank that writes; called on every rank."""
        return state

    def load_state(self, owner: Any, state: dict[str, Any]) -> None:
        """Give a model, a criterion, an optimizer or an average its part of a whole state; called on every rank."""
        load_whole(owner, state)


class DDP(Strategy):
    """Every rank holds the whole model; torch's DistributedDataParallel averages its gradients."""

    def setup(self, model: nn.Module) -> nn.Module:
        section = self.section
        known = inspect.signature(DistributedDataParallel).parameters
        # torch 2.13 renamed it
        buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        renamed: dict[str, Any] = {buffers: section.broadcast_buffers}
        self.wrapped = DistributedDataParallel(
            super().setup(model),
            device_ids=[self.device.index] if self.device.type == "cuda" else None,
            bucket_cap_mb=section.bucket_cap_mb,
            **renamed,
            gradient_as_bucket_view=section.gradient_as_bucket_view,
            find_unused_parameters=section.find_unused_parameters or leaves_parameters_out(model),
        )
        if section.ddp_comm_hook == "fp16":
            from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook

            self.wrapped.register_comm_hook(None, fp16_compress_hook)
        return self.wrapped

    @contextmanager
    def synchronised(self, last: bool) -> Iterator[None]:
        """As the base says. Raises: ConfigError when parameters got no gradient, which the model did not announce."""
        try:
            if last:
                yield
            else:
                with self.wrapped.no_sync():
                    yield
        except RuntimeError as error:
            if "find_unused_parameters=True" not in str(error):
                raise
            name = type(getattr(self.wrapped.module, "_orig_mod", self.wrapped.module)).__name__  # of a compiled one
            raise ConfigError(
                f"some parameters of {name} had no part in an update, so the ranks cannot average their gradients: "
                f"set distributed_training.find_unused_parameters=true (slower). In a model of your own let the "
                f"property sometimes_unused say when it is so"
            ) from error

    def average(self, parameters: Sequence[nn.Parameter]) -> None:
        average_gradients(parameters, self.device)


def average_gradients(parameters: Sequence[nn.Parameter], device: torch.device) -> None:
    """Over ranks, in place; gradients that no rank has stay None."""
    if not parameters:
        return
    used = torch.tensor([float(parameter.grad is not None) for parameter in parameters], device=device)
    for parameter, ranks in zip(parameters, sum_over_ranks(used).tolist()):
        if ranks:
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            sum_over_ranks(parameter.grad).div_(world_size())


def gradients(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def leaves_parameters_out(model: nn.Module) -> bool:
    """True when a part of the model says that some of its parameters get no gradient in some updates."""
    return any(getattr(part, "sometimes_unused", False) for part in model.modules())
