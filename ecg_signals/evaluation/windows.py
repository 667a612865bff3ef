"""A record as several windows: what a model takes of it, and what its answers to them make together."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ecg_signals.evaluation.run import Answer
from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.record import Record


def record_batches(contract: SignalContract, record: Record, size: int) -> Iterator[dict[str, Any]]:
    """The windows of one record as a model takes them, at most `size` a batch."""
    source, mask = contract.prepare(record, return_mask=True)
    for start in range(0, len(source), size):
        net_input, padding = {"source": source[start : start + size]}, mask[start : start + size]
        yield {"net_input": {**net_input, "padding_mask": padding} if padding.any() else net_input}


class Probabilities:
    """Consumes logits; `convert` makes probabilities of them, see metrics/logits.py."""

    def __init__(self, convert: Callable[[Tensor], Tensor]) -> None:
        self.convert = convert
        self.parts: list[np.ndarray] = []

    def __call__(self, answer: Answer) -> None:
        self.parts.append(self.convert(answer.output["logits"].float()).cpu().numpy())

    def values(self) -> np.ndarray:
        """[windows, labels], in the order in which the windows came."""
        return np.concatenate(self.parts)


def aggregate(windows: np.ndarray, rules: Sequence[str]) -> np.ndarray:
    """[windows, labels] -> [labels]: by `rules`, one per label, the "max" over windows, else the mean."""
    return np.where([rule == "max" for rule in rules], windows.max(axis=0), windows.mean(axis=0))
