"""A model that gives what it is told to, so that criteria are tested by themselves."""

from typing import Any

import torch
from torch import Tensor, nn


class StandIn(nn.Module):
    """Returns `output`; a tensor stands for the logits. Remembers the arguments of its calls."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = {"logits": output} if isinstance(output, Tensor) else output
        self.calls: list[dict[str, Any]] = []

    def forward(self, **net_input: Any) -> dict[str, Any]:
        self.calls.append(net_input)
        return dict(self.output)


def batch_of(items: int, **entries: Any) -> dict[str, Any]:
    """A batch of `items` items with these entries beside `net_input`."""
    return {"id": torch.arange(items), "net_input": {}, **entries}


def numbers(logs: dict[str, Any]) -> dict[str, float]:
    return {key: float(value) for key, value in logs.items()}


def printed_by(criterion: Any, out: Any) -> dict[str, float]:
    """What the criterion prints for this one output."""
    logs = {**numbers(out.logs), "sample_size": float(out.sample_size), "batches": 1.0, "updates": 1.0}
    return criterion.metrics(logs, {key: value.detach().numpy() for key, value in out.scores.items()})
