"""Batches that stand in for one that this rank does not have: they count nothing, and nothing of them stays."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ecg_signals.models.base import BaseModel


@contextmanager
def without_trace(model: BaseModel, num_updates: int) -> Iterator[None]:
    """Around the passes over such a batch: buffers are as before, and each `after_stand_in` drops what else is kept.

    What other ranks gather of the batch, as keys to tell their own from, they have seen.
    """
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    yield
    with torch.no_grad():
        for buffer, value in before:
            buffer.copy_(value)
    model.set_each("after_stand_in", num_updates)
