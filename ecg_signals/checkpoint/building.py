"""Building the model that a file's options describe, which may be of any size, without trusting them."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.overrides import TorchFunctionMode

from ecg_signals import limits
from ecg_signals.checkpoint.read import DAMAGED, first_line
from ecg_signals.config import ConfigError, UsageError
from ecg_signals.interop.layout import ModelSource
from ecg_signals.models.base import BaseModel
from ecg_signals.registry import get_entry

_DRAWS = (Tensor.normal_, Tensor.uniform_)


def build_model(source: ModelSource, options: Mapping[str, Any]) -> BaseModel:
    """The model `source` names, with these options in place of its own; its weights are not loaded.

    Raises: ConfigError for options that no such model can have, TooLarge for those of a model that is far larger.
    """
    entry = get_entry("model", source.name)
    with naming(source.where, f"no model '{source.name}' can be built from its options"):
        cfg = entry.dataclass.from_mapping({"_name": source.name, **options}, where="model")
        with _NoLargerThan(source):
            return entry.cls(cfg)


@contextmanager
def naming(where: str, problem: str) -> Iterator[None]:
    """Errors about the content of a stranger's file become one ConfigError that names the file."""
    try:
        yield
    except TooLarge:
        raise
    except ConfigError as error:
        kind, text = (UsageError if isinstance(error, UsageError) else ConfigError), limits.shown(error, 2000)
        raise kind(text if where in text else f"{where}: {text}") from None
    except DAMAGED as error:
        raise ConfigError(f"{where}: {problem} ({first_line(error)})") from error


def check_size(source: ModelSource) -> None:
    """Build the model on the meta device, where weights take no memory, and compare it with what the file holds.

    Raises: ConfigError when the options describe a model with more weights or layers than the file has. What else is
        wrong with them is left to the real building, since a plugin's model may need real numbers.
    """
    try:
        with torch.device("meta"), WithoutDraws():
            build_model(source, source.options)
    except TooLarge:
        raise
    except ConfigError:
        return


class TooLarge(ConfigError):
    """The options of a file describe a larger model than its weights make."""


class _NoLargerThan:
    """Stops the building of a model at the first weight or layer that is one too many for the file it comes from."""

    def __init__(self, source: ModelSource) -> None:
        self.where, self.name = source.where, source.name
        self.stored = sum(value.numel() for value in source.state.values())
        self.most = 2 * self.stored + limits.SLACK_BYTES // 4
        self.parts = limits.MODULES_PER_TENSOR * len(source.state) + 1000
        self.built = 0
        self.thread = threading.get_ident()  # torch's hooks are of the whole process

    def __enter__(self) -> None:
        self.hooks = [
            register_module_parameter_registration_hook(self.count_weights),
            register_module_buffer_registration_hook(self.count_weights),
            register_module_module_registration_hook(self.count_layer),
        ]

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()

    def count_weights(self, _module: object, _name: str, value: Tensor | None) -> None:
        self.built += value.numel() if value is not None and threading.get_ident() == self.thread else 0
        if self.built > self.most:
            raise self.error(f"a model '{self.name}' of {self.built:,} weights or more")

    def count_layer(self, _module: object, _name: str, _layer: object) -> None:
        self.parts -= threading.get_ident() == self.thread
        if self.parts < 0:
            raise self.error(f"a model '{self.name}' of far more layers than that")

    def error(self, described: str) -> TooLarge:
        return TooLarge(
            f"{self.where} holds {self.stored:,} weights, but its options describe {described}; they are not of one "
            f"model. Get the file again, or set the options that differ (model.KEY=VALUE)"
        )


class WithoutDraws(TorchFunctionMode):
    """Leaves weights undrawn while a model is built whose weights are all loaded afterwards: loading takes a third."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        target = args[0] if args else kwargs.get("tensor")
        if function is torch.norm_except_dim and args[0].is_meta:  # torch's own imports the compiler there
            return args[0].new_empty([size if at == args[2] else 1 for at, size in enumerate(args[0].shape)])
        drawn = function in _DRAWS or getattr(function, "__module__", "") == nn.init.__name__
        return target if drawn and isinstance(target, nn.Parameter) else function(*args, **kwargs)
