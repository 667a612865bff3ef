"""Gradient averaging over ranks, and a watch over progress."""

import inspect
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ecg_signals.config import ConfigError
from ecg_signals.distributed.collectives import sum_over_ranks, world_size
from ecg_signals.sections import Config

logger = logging.getLogger(__name__)


def wrap(model: nn.Module, config: Config, device: torch.device, ranks: int) -> nn.Module:
    """The model as the criterion calls it: compiled on request, its gradients averaged when there are several ranks."""
    called: Any = torch.compile(model) if config.common.compile else model
    if ranks == 1:
        return called
    section = config.distributed_training
    known = inspect.signature(DistributedDataParallel).parameters
    # torch 2.13 renamed it
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    renamed: dict[str, Any] = {buffers: section.broadcast_buffers}
    wrapped = DistributedDataParallel(
        called,
        device_ids=[device.index] if device.type == "cuda" else None,
        bucket_cap_mb=section.bucket_cap_mb,
        **renamed,
        gradient_as_bucket_view=section.gradient_as_bucket_view,
        find_unused_parameters=section.find_unused_parameters or leaves_parameters_out(model),
    )
    if section.ddp_comm_hook == "fp16":
        from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook

        wrapped.register_comm_hook(None, fp16_compress_hook)
    return wrapped


def leaves_parameters_out(model: nn.Module) -> bool:
    """True when a part of the model says that some of its parameters get no gradient in some updates."""
    return any(getattr(part, "sometimes_unused", False) for part in model.modules())


@contextmanager
def synchronised(model: nn.Module, last: bool) -> Iterator[None]:
    """Ranks exchange gradients in the last batch of an update only.

    Raises: ConfigError when parameters got no gradient, which the model did not say may happen.
    """
    with model.no_sync() if isinstance(model, DistributedDataParallel) and not last else nullcontext():
        try:
            yield
        except RuntimeError as error:
            if not isinstance(model, DistributedDataParallel) or "find_unused_parameters=True" not in str(error):
                raise
            name = type(getattr(model.module, "_orig_mod", model.module)).__name__  # of a compiled model, too
            raise ConfigError(
                f"some parameters of {name} had no part in an update, so the ranks cannot average their gradients: "
                f"set distributed_training.find_unused_parameters=true (slower). In a model of your own let the "
                f"property sometimes_unused say when it is so"
            ) from error


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Average over ranks the gradients of parameters that DDP does not hold; those that no rank used stay None."""
    if not parameters or world_size() == 1:
        return
    used = torch.tensor([float(parameter.grad is not None) for parameter in parameters], device=parameters[0].device)
    for parameter, ranks in zip(parameters, sum_over_ranks(used).tolist()):
        if ranks:
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            sum_over_ranks(parameter.grad).div_(world_size())


@contextmanager
def heartbeat(config: Config) -> Iterator[Callable[[], None]]:
    """Call what it yields after each update; `heartbeat_timeout` seconds without one interrupt the process."""
    timeout = config.distributed_training.heartbeat_timeout
    if timeout <= 0:
        yield lambda: None
        return
    last = [0.0]  # 0: the first update has not been made yet, and may take long
    over = threading.Event()

    def watch() -> None:
        while not over.wait(min(1.0, timeout / 4)):
            if last[0] and time.monotonic() - last[0] > timeout:
                logger.error("no update for %d s (distributed_training.heartbeat_timeout): interrupting", timeout)
                os.kill(os.getpid(), signal.SIGINT)
                return

    def beat() -> None:
        last[0] = time.monotonic()

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield beat
    finally:
        over.set()
