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


def to_device(value: Any, device: torch.device) -> Any:
    """Tensors of a batch on the device; 64-bit floats become 32-bit."""

    def move(tensor: Tensor) -> Tensor:
        kind = torch.float32 if tensor.dtype == torch.float64 else tensor.dtype
        return tensor.to(device, dtype=kind, non_blocking=True)

    return on_each(value, Tensor, move)
