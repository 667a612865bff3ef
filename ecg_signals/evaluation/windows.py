"""A record as several windows: what a model takes of it, and what its answers to them make together."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ecg_signals.evaluation.run import Answer
from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.record import Record


def record_batches(contract: SignalContract, record: Record, size: int) -> Iterator[dict[str, Any]]:
    """The windows of one record as a model takes them, at most `size` a batch."""
    source, mask = contract.prepare(record, return_mask=True)
    parts = ({"source": source[at : at + size], "padding": mask[at : at + size]} for at in range(0, len(source), size))
    yield from model_batches(parts)


def crop_starts(lengths: Sequence[int], crop: int, draws: np.random.RandomState) -> list[int]:
    """One random start per window, the same for all its leads; 0 where a window is no longer than a crop."""
    return [int(draws.randint(0, length - crop)) if length > crop else 0 for length in lengths]


def crop_batches(
    batches: Iterable[dict[str, Tensor]], crop: int, count: int, draws: np.random.RandomState
) -> Iterator[dict[str, Tensor]]:
    """Each batch `count` times, every time with other random crops of its windows: test-time augmentation.

    Args:
        batches: `source` [windows, leads, samples], `found`, how many samples of each exist, and maybe `padding`.
        crop: samples per crop.
        draws: gives the starts.
    """
    for batch in batches:
        for _ in range(count):
            starts = crop_starts(batch["found"].tolist(), crop, draws)
            cut = dict(batch)
            for key in {"source", "padding"} & set(batch):
                cut[key] = torch.stack([window[:, at : at + crop] for window, at in zip(batch[key], starts)])
            yield cut


def model_batches(batches: Iterable[dict[str, Tensor]]) -> Iterator[dict[str, Any]]:
    """`source` and `padding`, where there is any, as the model takes them."""
    for batch in batches:
        net_input, padding = {"source": batch["source"]}, batch.get("padding")
        padded = padding is not None and bool(padding.any())
        yield {**batch, "net_input": {**net_input, "padding_mask": padding} if padded else net_input}


class Probabilities:
    """Consumes logits of windows; several may be of one item, `id` of the batch, else all are of one.

    Args:
        convert: makes probabilities of logits, see metrics/logits.py.
    """

    def __init__(self, convert: Callable[[Tensor], Tensor]) -> None:
        self.convert = convert
        self.ids: list[np.ndarray] = []
        self.parts: list[np.ndarray] = []

    def __call__(self, answer: Answer) -> None:
        values = self.convert(answer.output["logits"].float()).cpu().numpy()
        ids = answer.batch.get("id")
        self.ids.append(np.zeros(len(values), dtype=np.int64) if ids is None else ids.cpu().numpy())
        self.parts.append(values)

    def windows(self) -> list[np.ndarray]:
        """[windows, labels] of every item, by number; windows of one item in the order in which they came."""
        ids = np.concatenate(self.ids)
        order = np.argsort(ids, kind="stable")
        return np.split(np.concatenate(self.parts)[order], np.flatnonzero(np.diff(ids[order])) + 1)


def aggregate(windows: np.ndarray, rules: Sequence[str]) -> np.ndarray:
    """[windows, labels] -> [labels]: by `rules`, one per label, the "max" over windows, else the mean."""
    return np.where([rule == "max" for rule in rules], windows.max(axis=0), windows.mean(axis=0))


def aggregate_crops(crops: Sequence[np.ndarray], rule: str) -> np.ndarray:
    """Random crops of the same items, [items, labels] each -> [items, labels]: the "max", else the mean."""
    stacked = torch.from_numpy(np.stack(crops))
    return (stacked.amax(dim=0) if rule == "max" else stacked.mean(dim=0)).numpy()
