"""Collective operations that are the identity outside a process group."""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ecg_signals.config import ConfigError
from ecg_signals.runtime.nested import on_each


def is_initialized() -> bool:
    return dist.is_available() and dist.is_initialized()


def world_size() -> int:
    return dist.get_world_size() if is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if is_initialized() else 0


def all_gather_object(value: Any) -> list[Any]:
    """One entry per rank, in rank order; no limit on size."""
    if world_size() == 1:
        return [value]
    gathered: list[Any] = [None] * world_size()
    dist.all_gather_object(gathered, value)
    return gathered


def sum_over_ranks(values: Tensor) -> Tensor:
    """The sum of a tensor over all ranks, in place; returns `values`."""
    if world_size() > 1:
        dist.all_reduce(values)
    return values


def own_part(tensor: Tensor) -> Tensor:
    """What this rank holds of a weight that is sharded over ranks, in the same memory; any other tensor as it is."""
    part = getattr(tensor, "to_local", None)
    return tensor if part is None else part()


def barrier() -> None:
    """Wait until all ranks have come here."""
    if world_size() > 1:
        dist.barrier()


def from_rank_zero(make: Callable[[], Any]) -> Any:
    """What `make` returns on rank 0, on every rank; tensors inside dicts and lists travel as tensors, on the CPU.

    Raises: ConfigError on every rank when `make` raises it on rank 0.
    """
    if world_size() == 1:
        return make()
    tensors: list[Tensor] = []
    message: list[Any] = [None]

    def take(tensor: Tensor) -> _Placeholder:
        tensors.append(tensor)
        return _Placeholder(len(tensors) - 1, tensor)

    def put(place: _Placeholder) -> Tensor:
        buffer = torch.empty(place.shape, dtype=place.dtype, device=device)
        if rank() == 0:
            buffer.copy_(tensors[place.number])
        dist.broadcast(buffer, src=0)
        return buffer.cpu()

    if rank() == 0:
        try:
            message = [("value", on_each(make(), Tensor, take))]
        except ConfigError as error:
            message = [("error", error)]
    dist.broadcast_object_list(message, src=0)
    kind, content = message[0]
    if kind == "error":
        raise content
    device = torch.device("cuda") if dist.get_backend() == "nccl" else torch.device("cpu")
    return on_each(content, _Placeholder, put)


class _Placeholder:
    """Where a tensor was; `number` in the order of broadcasting."""

    def __init__(self, number: int, tensor: Tensor) -> None:
        self.number, self.shape, self.dtype = number, tensor.shape, tensor.dtype


class _GatherRows(torch.autograd.Function):
    """all_gather whose backward returns each rank the gradient of its own rows, summed over ranks."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes = sizes
        largest = max(sizes)
        padded = rows.new_zeros((largest, *rows.shape[1:]))
        padded[: len(rows)] = rows
        gathered = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(gathered, padded)
        return torch.cat([item[:size] for item, size in zip(gathered, sizes)])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        grad = grads[0].contiguous()
        dist.all_reduce(grad)
        start = sum(ctx.sizes[: rank()])
        return grad[start : start + ctx.sizes[rank()]], None


def gather_rows(rows: Tensor) -> Tensor:
    """[n, ...] of every rank -> [sum of n, ...] in rank order, differentiable; `rows` itself with one rank."""
    return gather_with_place(rows)[0]


def gather_with_place(rows: Tensor) -> tuple[Tensor, int]:
    """What `gather_rows` returns, and where in it this rank's rows begin."""
    if world_size() == 1:
        return rows, 0
    sizes = [int(size) for size in all_gather_object(len(rows))]
    return _GatherRows.apply(rows, sizes), sum(sizes[: rank()])
