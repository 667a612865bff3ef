"""The baselines' published weights under our names, for comparison with their outputs."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ecg_signals.models.base import BaseModel

Rule = tuple[str, str | Callable[[re.Match[str]], str]]


def stages(first: int) -> Rule:
    """A stage's number counts from 0 here, from `first` there."""
    return r"^([3-9])\.", lambda found: f"stages.{int(found[1]) - first}."


S4: list[Rule] = [
    (r"kernel\.kernel\.", "kernel."), (r"output_linear\.0", "output_linear"), (r"s4_layers\.", "layers."),
    (r"(^|rnn\.)encoder\.(weight|bias)", r"\1proj.\2"),
]  # fmt: skip
RULES: dict[str, list[Rule]] = {  # of an encoder: pattern in a published key -> ours
    "xresnet1d": [(r"^([0-2])\.", r"stem.\1."), stages(4), (r"idpath\.[01]\.", "idpath.")],
    "resnet1d_wang": [
        (r"^([01])\.", r"stem.\1."), stages(3), (r"\.conv1\.", ".convs.0.0."), (r"\.bn1\.", ".convs.0.1."),
        (r"\.conv2\.", ".convs.1.0."), (r"\.bn2\.", ".convs.1.1."),
    ],
    "inception1d": [
        (r"^layers\.0\.", ""), (r"^im\.", "blocks."), (r"^sk\.", "shortcuts."), (r"conv_bottle\.1", "conv_bottle"),
        (r"bn_relu\.0", "norm"), (r"^(shortcuts\.\d)\.conv", r"\1.0"), (r"^(shortcuts\.\d)\.bn", r"\1.1"),
    ],
    "fcn_wang": [(r"^(\d)\.0\.", r"layers.\1.")],
    "lstm": [(r"^2\.", "rnn.")],
    "s4": [*S4, (r"^", "stack.")],
    "fc_lstm": [*S4, (r"^encoder\.", "layers."), (r"^rnn\.", "context.")],
}  # fmt: skip
UNUSED = re.compile(r"convpath|\.omega$|\.z$|num_batches_tracked$")  # a second name; what a length implies; counts


def renamed(family: str, state: Mapping[str, Any], head: str = "", first: int | None = None) -> dict[str, Any]:
    """Published weights -> those of the encoder, or, with a head, of a `classifier`.

    Args:
        head: how the keys of its head begin there.
        first: the number of its batch norm among its layers there; None: it is one linear layer.
    """
    found = {}
    for key, value in state.items():
        if head and key.startswith(head):
            number, leaf = key.split(".")[-2:]
            found[f"proj.{leaf}" if first is None else f"proj.{int(number) - first}.{leaf}"] = value
        elif not UNUSED.search(key):
            for pattern, new in RULES[family]:
                key = re.sub(pattern, new, key, count=1)
            found[f"encoder.{key}" if head else key] = value
    return {key: value for key, value in found.items() if not UNUSED.search(key)}


def own_state(model: BaseModel) -> dict[str, Tensor]:
    return {key: value for key, value in model.state_dict().items() if not UNUSED.search(key)}


def fill(model: BaseModel, state: Mapping[str, np.ndarray]) -> BaseModel:
    """Every weight; the bias of a layer over time [dim, 1] is one of [dim] here."""
    own = own_state(model)
    assert sorted(own) == sorted(state)
    found = {key: torch.from_numpy(state[key]).reshape(value.shape) for key, value in own.items()}
    model.load_state_dict(found, strict=False)
    return model.eval()
