"""Models by kind; `build_model_from_checkpoint` is fairseq-signals' name for `ecg_signals.load_model`."""

import os
from typing import Any


def build_model_from_checkpoint(checkpoint_path: str | os.PathLike[str], **overrides: Any) -> Any:
    """`ecg_signals.load_model(checkpoint_path, **overrides)`, such as `saliency=True`."""
    from ecg_signals.checkpoint.load import load_model

    return load_model(checkpoint_path, **overrides)
