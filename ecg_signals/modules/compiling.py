"""What torch.compile leaves to plain Python."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")


def not_compiled(function: Callable[P, T]) -> Callable[P, T]:
    """As torch.compiler.disable, which imports the whole compiler where it stands: half the start of a command."""
    disabled: Callable[P, T] = torch._disable_dynamo(function)  # imports it at the first call

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        if not torch.compiler.is_compiling() and "torch._dynamo" not in sys.modules:
            return function(*args, **kwargs)
        return disabled(*args, **kwargs)

    return call
