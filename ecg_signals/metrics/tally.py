"""Sums of what a criterion logs, over batches, ranks and updates."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from ecg_signals.runtime.collectives import sum_over_ranks, world_size


def sum_logs(
    logs: Sequence[Mapping[str, float | Tensor]], extra: Sequence[Tensor], device: torch.device
) -> tuple[dict[str, float], list[float]]:
    """Sum the batches' logs over batches and ranks; `extra` scalars come back beside them, unsummed over ranks.

    One transfer from the device in all: the only wait for the GPU in an update.
    """
    keys = list(dict.fromkeys(key for batch in logs for key in batch))
    columns = [[batch[key] for batch in logs if key in batch] for key in keys]
    if world_size() > 1:
        totals = sum_over_ranks(_doubles(list(map(sum_column, columns)), device))
        values = torch.cat([totals, _doubles(extra, device)]).tolist()
        return dict(zip(keys, values)), values[len(keys) :]
    on_device = [key for key, column in zip(keys, columns) if any(isinstance(value, Tensor) for value in column)]
    sums = {key: sum_column(column) for key, column in zip(keys, columns)}
    values = torch.cat([_doubles([sums[key] for key in on_device], device), _doubles(extra, device)]).tolist()
    known = dict(zip(on_device, values))
    return {key: known.get(key, sums[key]) for key in keys}, values[len(on_device) :]


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
    if not values:
        return torch.zeros(0, dtype=torch.float64, device=device)
    return torch.stack([torch.as_tensor(value, dtype=torch.float64, device=device).reshape(()) for value in values])


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
