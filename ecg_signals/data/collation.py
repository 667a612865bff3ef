"""Items -> one batch: signals of different length by cropping and padding, what else items hold by stacking."""

from collections.abc import Callable, Container, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ecg_signals.config import ConfigError
from ecg_signals.data import blocks

SIGNALS = ("source", "original", "tracks", "view")  # keys of an item that `Cropping` brings into the batch


class Cropping:
    """Brings signals to one length: all cropped to the shortest of a batch, or padded to the longest.

    Args:
        samples: [items], of all items, for the buckets.
        padding: pad, and give a padding mask.
        longest: samples; longer signals are always cropped. None: no limit.
        buckets: pad to one of this many lengths; 0 off.
    Raises: ConfigError for buckets without padding.
    """

    def __init__(self, samples: np.ndarray, padding: bool, longest: int | None, buckets: int) -> None:
        self.padding, self.longest = padding, longest
        self.buckets = self._lengths(samples, buckets) if buckets else None

    def _lengths(self, samples: np.ndarray, count: int) -> np.ndarray:
        """The lengths to which batches are padded: quantiles of the items' lengths, ascending."""
        if not self.padding:
            raise ConfigError("task.num_batch_buckets pads batches to few lengths; it needs task.enable_padding=true")
        lengths = samples if self.longest is None else np.minimum(samples, self.longest)
        shares = np.linspace(0, 100, count + 1)[1:]
        return np.unique(np.percentile(lengths, shares, method="lower").astype(np.int64))

    def target(self, lengths: Sequence[int]) -> int:
        """Samples of a batch of signals with these lengths."""
        target = max(lengths) if self.padding else min(lengths)
        target = target if self.longest is None else min(target, self.longest)
        if self.buckets is None:
            return target
        return int(self.buckets[min(int(np.searchsorted(self.buckets, target)), len(self.buckets) - 1)])

    def __call__(self, items: Sequence[dict[str, Any]], start: Callable[[dict[str, Any], int], int]) -> dict[str, Any]:
        """`net_input` and, where items have them, `original` and `tracks`, all cropped alike.

        Args:
            items: `source`, `original` [leads, samples], `tracks`: name -> [..., samples].
            start: (item, surplus samples) -> first sample kept, 0 to surplus.
        """
        sources = [item["source"] for item in items]
        target = self.target([source.shape[-1] for source in sources])
        starts = [
            start(item, source.shape[-1] - target) if source.shape[-1] > target else 0
            for item, source in zip(items, sources)
        ]
        batch: dict[str, Any] = {"net_input": {"source": cut(sources, starts, target)}}
        if self.padding:
            filled = [min(source.shape[-1], target) for source in sources]
            batch["net_input"]["padding_mask"] = padding_mask(filled, len(sources[0]), target)
        if "original" in items[0]:
            batch["original"] = cut([item["original"] for item in items], starts, target)
        if "tracks" in items[0]:
            names = items[0]["tracks"]
            batch["tracks"] = {name: cut([item["tracks"][name] for item in items], starts, target) for name in names}
        return batch


def cut(signals: Sequence[Tensor], starts: Sequence[int], target: int) -> Tensor:
    """[batch, ..., target]: `target` samples of each [..., samples] from its start on, zeros where it is shorter."""
    whole = all(signal.shape[-1] == target for signal in signals)
    if whole and blocks.filling and (found := blocks.filling.joined(signals)) is not None:
        return found
    out = new_batch((len(signals), *signals[0].shape[:-1], target), signals[0].dtype)
    if whole:
        return torch.stack(list(signals), out=out)
    for row, signal, first in zip(out, signals, starts):
        piece = signal[..., first : first + target]
        row[..., : piece.shape[-1]] = piece
        row[..., piece.shape[-1] :] = 0
    return out


def new_batch(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Room for a batch, not yet filled; in a loading process where the one that trains can read it."""
    found = None if blocks.filling is None else blocks.filling.array(shape, dtype)
    if found is not None:
        return found
    # numpy asks the kernel for huge pages, which makes the first touch of a new batch several times faster.
    return torch.from_numpy(np.empty(shape, dtype=torch.empty(0, dtype=dtype).numpy().dtype))


def padding_mask(filled: Sequence[int], leads: int, target: int) -> Tensor:
    """[batch, leads, target] bool, True behind the samples that a signal fills."""
    shape = (len(filled), leads, target)
    if blocks.filling is None:
        mask = torch.from_numpy(np.zeros(shape, dtype=bool))  # memory that is zero costs nothing
    else:
        mask = new_batch(shape, torch.bool).zero_()
    for row, samples in zip(mask, filled):
        if samples < target:
            row[:, samples:] = True
    return mask


def grouped_windows(net_input: dict[str, Tensor], counts: Sequence[int]) -> dict[str, Tensor]:
    """Windows [windows, leads, samples] and their padding, item by item: [items, windows, leads, samples].

    Args:
        counts: windows of every item; those that an item has not are padding throughout.
    """
    found = {key: pad_sequence(list(value.split(list(counts))), batch_first=True, padding_value=key != "source")
             for key, value in net_input.items()}  # fmt: skip
    if len(set(counts)) > 1 and "padding_mask" not in found:
        absent = torch.arange(max(counts)) >= torch.tensor(counts)[:, None]  # [items, windows]
        found["padding_mask"] = absent[:, :, None, None].expand(found["source"].shape)
    return found


def stacked_columns(items: Sequence[dict[str, Any]], without: Container[str]) -> dict[str, Tensor]:
    """Each key of the items as one tensor [items, ...]."""
    columns = {key: [item[key] for item in items] for key in items[0] if key not in without}
    return {
        key: torch.stack(values) if isinstance(values[0], Tensor) else torch.tensor(values)
        for key, values in columns.items()
    }


def split_views(items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Items with lists -> one item per entry of `source`, in order; what is no list belongs to all of them."""
    return [
        {key: value[view] if isinstance(value, list) else value for key, value in item.items()} | {"view": view}
        for item in items
        for view in range(len(item["source"]))
    ]
