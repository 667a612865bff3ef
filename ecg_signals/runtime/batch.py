"""What is done to a batch before a model sees it: its tensors are moved, and its random stream is seeded."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ecg_signals.runtime.nested import on_each


def stream_seed(*key: int) -> int:
    """A 63-bit seed that depends on every part of the key; streams with different keys are independent."""
    return int(
        np.random.SeedSequence([part & 0xFFFFFFFF for part in key]).generate_state(1, np.uint64)[0] >> np.uint64(1)
    )


def sent(tensor: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """The tensor on the device; a GPU fetches it when it comes to that, and nobody waits."""
    if device.type == "cuda" and tensor.device.type == "cpu" and not tensor.is_pinned():
        tensor = tensor.pin_memory()
    return tensor.to(device, dtype=dtype or tensor.dtype, non_blocking=True)


def to_device(value: Any, device: torch.device) -> Any:
    """Tensors of a batch on the device; 64-bit floats become 32-bit."""

    def move(tensor: Tensor) -> Tensor:
        kind = torch.float32 if tensor.dtype == torch.float64 else tensor.dtype
        return tensor.to(device, dtype=kind, non_blocking=True)

    return on_each(value, Tensor, move)


class DeviceCopies:
    """Copies of batches to a GPU on a stream of their own, beside the computing that was asked for before.

    Args:
        beside: False: in the order of computing.
    """

    def __init__(self, device: torch.device, beside: bool) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device) if beside and device.type == "cuda" else None

    def __call__(self, batch: Any) -> Any:
        """The batch on the device, as `to_device` gives it."""
        if self.stream is None:
            return to_device(batch, self.device)
        computing = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self.stream):
            moved = to_device(batch, self.device)
        computing.wait_stream(self.stream)

        def keep(tensor: Tensor) -> Tensor:
            if tensor.is_cuda:  # its memory is not for others until computing is through with it
                tensor.record_stream(computing)
            return tensor

        return on_each(moved, Tensor, keep)
