"""What torch.compile leaves to plain Python."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import TypeVar

import torch

F = TypeVar("F", bound=Callable)


def not_compiled(function: F) -> F:
    """As torch.compiler.disable, which imports the whole compiler where it stands: half the start of a command."""
    disabled = torch._disable_dynamo(function)  # imports it at the first call

    @wraps(function)
    def call(*args, **kwargs):  # type: ignore[no-untyped-def]
        if not torch.compiler.is_compiling() and "torch._dynamo" not in sys.modules:
            return function(*args, **kwargs)
        return disabled(*args, **kwargs)

    return call  # type: ignore[return-value]
