"""ecg-signals: pretrain, fine-tune and apply ECG models from one registry.

Importing the package is light; `list_models`, `load_model` and `read_record` import what they need when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ecg_signals.checkpoint.load import load_model as load_model
    from ecg_signals.models.catalogue import list_models as list_models
    from ecg_signals.readers.read import read_record as read_record

__version__ = "0.1.0"

_LAZY = {
    "list_models": "ecg_signals.models.catalogue",
    "load_model": "ecg_signals.checkpoint.load",
    "read_record": "ecg_signals.readers.read",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'ecg_signals' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
