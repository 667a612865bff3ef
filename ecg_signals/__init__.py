"""ecg-signals: pretrain, fine-tune and apply ECG models from one registry.

Importing the package is light; `load_model` and `read_record` import what they need when first used.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_LAZY = {
    "load_model": "ecg_signals.checkpoint.load",
    "read_record": "ecg_signals.readers.read",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'ecg_signals' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
