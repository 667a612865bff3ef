"""Signals of different length -> one array, by cropping and padding."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Start = Callable[[int, int], int]  # (number in the batch, surplus samples) -> first sample kept, 0 to surplus


def target_length(lengths: Sequence[int], *, padding: bool, max_samples: int | None) -> int:
    """Samples of the batch: the longest signal with `padding`, else the shortest; at most `max_samples`."""
    length = max(lengths) if padding else min(lengths)
    return length if max_samples is None else min(length, max_samples)


def collate_signals(signals: Sequence[Tensor], target: int, start: Start) -> tuple[Tensor, list[int], list[int]]:
    """Signals [leads, samples of its own] -> [batch, leads, target].

    Longer ones are cropped from `start(number, surplus)` on, shorter ones get zeros at the end.

    Returns: the array, each crop's first sample, and the samples that each signal fills.
    """
    starts = [
        start(number, signal.shape[-1] - target) if signal.shape[-1] > target else 0
        for number, signal in enumerate(signals)
    ]
    filled = [min(signal.shape[-1], target) for signal in signals]
    return cut(signals, starts, target), starts, filled


def cut(signals: Sequence[Tensor], starts: Sequence[int], target: int) -> Tensor:
    """[batch, leads, target]: `target` samples of each signal from its start on, zeros where it is shorter."""
    # numpy asks the kernel for huge pages, which makes the first touch of a new batch several times faster.
    out = torch.from_numpy(np.empty((len(signals), len(signals[0]), target), dtype=np.float32))
    if all(signal.shape[-1] == target for signal in signals):
        return torch.stack(list(signals), out=out)
    for row, signal, first in zip(out, signals, starts):
        piece = signal[:, first : first + target]
        row[:, : piece.shape[-1]] = piece
        row[:, piece.shape[-1] :] = 0
    return out


def padding_mask(filled: Sequence[int], leads: int, target: int) -> Tensor:
    """[batch, leads, target] bool, True behind the samples that a signal fills."""
    mask = torch.zeros(len(filled), leads, target, dtype=torch.bool)
    for row, samples in zip(mask, filled):
        if samples < target:
            row[:, samples:] = True
    return mask


def split_views(items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Items with lists -> one item per entry of `source`, in order; what is no list belongs to all of them."""
    return [
        {key: value[view] if isinstance(value, list) else value for key, value in item.items()} | {"view": view}
        for item in items
        for view in range(len(item["source"]))
    ]
