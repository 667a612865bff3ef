"""Values inside dicts, lists and tuples: batches, states, messages."""

from collections.abc import Callable
from typing import Any


def on_each(value: Any, kind: type | tuple[type, ...], change: Callable[[Any], Any]) -> Any:
    """The same containers, new ones, with `change` applied to every value of type `kind`; all else stays as it is."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, dict):
        return {key: on_each(item, kind, change) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(on_each(item, kind, change) for item in value)
    return value
