"""Plain values: a pickle's content as a finite, shallow tree that code may walk freely, and what we write ourselves."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ecg_signals import limits
from ecg_signals.checkpoint.names import DTYPES, Inert, Name, PendingArray, PendingDtype, kind, refusal
from ecg_signals.config import ConfigError
from ecg_signals.runtime.collectives import own_part


def plain_tree(value: Any, size: int) -> Any:
    """What a machine returned as dicts, lists, tuples, numbers, strings, arrays and tensors: a finite, shallow tree.

    omegaconf nodes become what they hold, an enum member its value, any other record the dict of its state with its
    class under `__class__`. Where an object holds itself, a text says so.

    Args:
        size: bytes of the file; texts, arrays and tensors, counted each time they are named, may be a few times that.
    Raises: ConfigError for what is nested too deeply, or unfolds to too many values or bytes.
    """
    return _Plain(size).convert(value, 0)


class _Plain:
    def __init__(self, size: int) -> None:
        self.most_bytes = limits.MAX_REPEATS * size + limits.SLACK_BYTES
        self.nodes = self.bytes = self.deepest = 0
        self.done: dict[int, tuple[Any, int, int, int, Any]] = {}  # id -> copy, nodes, bytes, height, the original
        self.open: set[int] = set()

    def convert(self, value: Any, depth: int) -> Any:
        if isinstance(value, (str, bytes, bytearray)):
            return self.count(value, 1, len(value), depth)
        if value is None or isinstance(value, (int, float, complex)):
            return self.count(value, 1, 0, depth)
        known = self.done.get(id(value))
        if known is not None:
            return self.count(known[0], known[1], known[2], depth + known[3])
        if id(value) in self.open:
            return self.count(f"<the {kind(value)} that holds this>", 1, 0, depth)
        nodes, size, outside, self.deepest = self.nodes, self.bytes, self.deepest, depth
        self.open.add(id(value))
        copy = self.container(value, depth + 1)
        self.open.discard(id(value))
        height = self.deepest - depth
        self.deepest = max(outside, self.deepest)
        self.done[id(value)] = (copy, self.nodes - nodes, self.bytes - size, height, value)
        return copy

    def count(self, value: Any, nodes: int, size: int, depth: int) -> Any:
        self.nodes += nodes
        self.bytes += size
        self.deepest = max(self.deepest, depth)
        if depth > limits.MAX_NESTING:
            raise ConfigError(f"it nests values more than {limits.MAX_NESTING} deep (docs/limits.md)")
        if self.nodes > limits.MAX_NODES or self.bytes > self.most_bytes:
            raise ConfigError(
                f"it unfolds to more than {limits.MAX_NODES:,} values or {self.most_bytes:,} bytes (docs/limits.md)"
            )
        return value

    def container(self, value: Any, depth: int) -> Any:
        self.count(None, 1, 0, depth)
        if isinstance(value, Inert):
            return self.record(value, depth)
        if type(value) is dict:
            return {key: self.convert(item, depth) for key, item in value.items()}
        if type(value) is list:
            return [self.convert(item, depth) for item in value]
        if type(value) is tuple:
            return tuple(self.convert(item, depth) for item in value)
        if isinstance(value, PendingArray):
            return self.container(value.array, depth)
        if isinstance(value, np.ndarray):
            return self.count(value, 0, value.nbytes, depth).copy()
        if isinstance(value, Tensor):
            return self.count(value, 0, value.numel() * value.itemsize, depth)
        if isinstance(value, Name):
            return DTYPES[value.name] if value.module == "torch" and value.name in DTYPES else str(value)
        if isinstance(value, PendingDtype):
            return value.code
        if isinstance(value, set):
            return self.count(set(value), len(value), 0, depth)
        raise refusal("holds", value)

    def record(self, value: Inert, depth: int) -> Any:
        state = value.state
        if type(state) is tuple and len(state) == 2 and type(state[1]) is dict:  # a class with __slots__
            state = {**(state[0] if type(state[0]) is dict else {}), **state[1]}
        if type(state) is dict and value.path.startswith("omegaconf."):
            for key in ("_content", "_val"):
                if key in state:
                    return self.convert(state[key], depth)
        if state is None and not value.items and not value.entries and len(value.args) == 1:
            return self.convert(value.args[0], depth)  # a member of an enum
        if value.items and not value.entries:
            return [self.convert(item, depth) for item in value.items]
        copy: dict[Any, Any] = {"__class__": value.path}
        if value.args:
            copy["__args__"] = self.convert(value.args, depth)
        for part in (value.entries, state if type(state) is dict else {} if state is None else {"__state__": state}):
            copy.update({key: self.convert(item, depth) for key, item in part.items()})
        return copy


def to_cpu(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights on the CPU, half precisions as float32; views of larger buffers are copied.

    A rank's part of a weight that is sharded stays as it is.
    """
    return {
        key: value if own_part(value) is not value else _own_storage(_float32(value.detach()).cpu())
        for key, value in state.items()
    }


def _float32(value: Tensor) -> Tensor:
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


def _own_storage(value: Tensor) -> Tensor:
    whole = value.untyped_storage().nbytes() == value.numel() * value.element_size()
    return value if whole else value.clone()


def plain_values(value: Any) -> Any:
    """Dicts, lists, tuples, numbers, strings and CPU tensors, which is all that `weights_only=True` takes.

    Arrays become tensors, numpy numbers Python's, paths strings; tensors that are sharded over ranks stay.
    Raises: TypeError for any other object.
    """
    if isinstance(value, Tensor):
        return value if own_part(value) is not value else _own_storage(value.detach().cpu())
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(value))
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {plain_values(key): plain_values(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(plain_values(item) for item in value)
    if isinstance(value, (list, set, frozenset)):
        return [plain_values(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, torch.dtype)):
        return value
    raise TypeError(f"a checkpoint holds plain values only, not {type(value).__name__}")
