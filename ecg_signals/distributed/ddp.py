"""Gradient averaging over ranks, and a watch over progress."""

import inspect
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ecg_signals.sections import Config

logger = logging.getLogger(__name__)


def wrap(model: nn.Module, config: Config, device: torch.device, world_size: int) -> nn.Module:
    """The model as the criterion calls it: compiled on request, its gradients averaged when there are several ranks."""
    called: Any = torch.compile(model) if config.common.compile else model
    if world_size == 1:
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
    """True when some parameters get no gradient in some updates, which DDP must be told."""
    cfg = getattr(model, "cfg", None)
    values = {
        key: getattr(cfg, key, default)
        for key, default in (
            ("feature_grad_mult", 1.0),
            ("freeze_finetune_updates", 0),
            ("encoder_layerdrop", 0.0),
            ("layerdrop", 0.0),
        )
    }
    return values["feature_grad_mult"] == 0 or any(
        values[key] for key in ("freeze_finetune_updates", "encoder_layerdrop", "layerdrop")
    )


def synchronised(model: nn.Module, last: bool) -> AbstractContextManager[Any]:
    """Ranks exchange gradients in the last batch of an update only."""
    return model.no_sync() if isinstance(model, DistributedDataParallel) and not last else nullcontext()


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
