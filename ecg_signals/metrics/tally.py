"""Sums of what a criterion logs, over batches, ranks and updates."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from ecg_signals.runtime.batch import sent
from ecg_signals.runtime.collectives import sum_over_ranks, world_size


class LogSums:
    """What the batches of an update logged, summed over batches and ranks.

    Numbers of the device stay there until they are read: in one transfer, with others.
    """

    def __init__(self, logs: Sequence[Mapping[str, float | Tensor]], device: torch.device) -> None:
        keys = dict.fromkeys(key for batch in logs for key in batch)
        self.device = device
        self.values = {key: sum_column([batch[key] for batch in logs if key in batch]) for key in keys}
        if world_size() > 1:
            totals = sum_over_ranks(_doubles(list(self.values.values()), device))
            self.values = dict(zip(keys, totals.unbind()))

    def read(self, *others: Tensor) -> "Reading":
        """Begin to read all sums and `others`, scalars of the device."""
        wanted = {key: value for key, value in self.values.items() if isinstance(value, Tensor)}
        return Reading(self.values, list(wanted), _doubles([*wanted.values(), *others], self.device))


class Reading:
    """Numbers on their way from the device."""

    def __init__(self, sums: Mapping[str, float | Tensor], keys: Sequence[str], values: Tensor) -> None:
        self.sums, self.keys = sums, keys
        self.arrived: Any = None
        if values.device.type == "cuda":
            self.values = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            self.values.copy_(values, non_blocking=True)
            self.arrived = torch.cuda.Event()
            self.arrived.record()
        else:
            self.values = values

    def numbers(self) -> tuple[dict[str, float], list[float]]:
        """The sums, and the others in their order; waits for the device where that has not come so far yet."""
        if self.arrived is not None:
            self.arrived.synchronize()
        values = self.values.tolist()
        known = dict(zip(self.keys, values))
        return {key: known.get(key, value) for key, value in self.sums.items()}, values[len(self.keys) :]


def sum_updates(updates: Sequence[Sequence[Mapping[str, Any]]], averaged: Sequence[str]) -> dict[str, float]:
    """Sum the logs of updates, each a list of its batches' logs; see `of_update`."""
    total: dict[str, float] = {}
    for batches in updates:
        keys = dict.fromkeys(key for batch in batches for key in batch)
        sums = {key: sum(float(batch[key]) for batch in batches if key in batch) for key in keys}
        for key, value in of_update(sums, averaged).items():
            total[key] = total.get(key, 0.0) + value
    return total


def of_update(sums: Mapping[str, float], averaged: Sequence[str]) -> dict[str, float]:
    """What one update adds to a tally: the sums over its batches, of `averaged` logs their means, and `updates` = 1."""
    batches = sums.get("batches") or 1.0
    return {key: value / batches if key in averaged else value for key, value in sums.items()} | {"updates": 1.0}


def sum_column(column: Sequence[float | Tensor]) -> Any:
    """The sum of numbers and scalar tensors, of tensors in double precision, on their device."""
    total = column[0] if not isinstance(column[0], Tensor) else column[0].double()
    for value in column[1:]:
        total = total + value
    return total


def _doubles(values: Sequence[Any], device: torch.device) -> Tensor:
    """[values] numbers and scalar tensors on the device, without waiting for it."""
    known = torch.tensor([0.0 if isinstance(value, Tensor) else float(value) for value in values], dtype=torch.float64)
    out = sent(known, device)
    for place, value in enumerate(values):
        if isinstance(value, Tensor):
            out[place].copy_(value.reshape(()), non_blocking=True)
    return out


@dataclass
class Tally:
    """What an interval or an epoch has seen so far; restored exactly when training resumes inside it."""

    logs: dict[str, float] = field(default_factory=dict)
    updates: int = 0
    gnorm: float = 0.0
    clipped: int = 0
    seconds: float = 0.0
    waited: float = 0.0

    def add(self, logs: Mapping[str, float], gnorm: float, clipped: bool, seconds: float, waited: float = 0.0) -> None:
        """One update: what it logged (`of_update`), and its seconds of computing and of waiting for its batches."""
        for key, value in logs.items():
            self.logs[key] = self.logs.get(key, 0.0) + value
        self.updates += 1
        self.gnorm += gnorm
        self.clipped += clipped
        self.seconds += seconds
        self.waited += waited

    def state_dict(self) -> dict[str, Any]:
        return asdict(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for key, value in state.items():
            setattr(self, key, dict(value) if key == "logs" else value)
        if self.logs:
            self.logs.setdefault("updates", float(self.updates))  # files of earlier versions

    def clear(self) -> None:
        """Begin a new interval or epoch."""
        self.load_state_dict(Tally().state_dict())
