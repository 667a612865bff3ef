"""What KED's project calls weights of its ECG encoder, and what they are here: both directions, and the sizes."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ecg_signals.config import ConfigError

STEM = 3  # convolutions before the pool, which has the number 3
STAGES = STEM + 1  # number of the first stage
TWIN = ".convpath.0."  # a second name of `.convs.`, for the same tensors


def is_ked(state: Any) -> bool:
    """Whether these weights are the project's residual network."""
    needed = ("0.0.weight", f"{STAGES}.0.convs.0.0.weight", f"{STAGES}.0.convs.1.0.weight")
    return isinstance(state, Mapping) and all(isinstance(state.get(key), Tensor) for key in needed)


def from_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of the project under our names. Raises: ConfigError where two names of one tensor differ."""
    found = {}
    for key, value in state.items():
        if TWIN in key:
            first = key.replace(TWIN, ".convs.")
            if first not in state or not torch.equal(state[first], value):
                raise ConfigError(f"{key} is not {first}, though both are one weight; get the file again")
        else:
            found[_ours(key)] = value
    return found


def to_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse, in the project's order, with both names of every tensor of a block's convolutions."""
    found: dict[str, Tensor] = {}
    twins: dict[str, Tensor] = {}
    for key, value in state.items():
        theirs = _theirs(key)
        if ".convs." not in theirs:
            found |= twins
            twins = {}
        if twins and theirs.split(".convs.")[0] != next(iter(twins)).split(TWIN)[0]:
            found |= twins
            twins = {}
        found[theirs] = value
        if ".convs." in theirs:
            twins[theirs.replace(".convs.", TWIN)] = value
    return found | twins


def _ours(key: str) -> str:
    place, _, rest = key.partition(".")
    if not place.isdigit():
        return key
    rest = re.sub(r"idpath\.\d\.", "idpath.", rest)
    return f"stem.{place}.{rest}" if int(place) < STEM else f"stages.{int(place) - STAGES}.{rest}"


def _theirs(key: str) -> str:
    if match := re.fullmatch(r"stem\.(\d+)\.(.+)", key):
        return f"{match[1]}.{match[2]}"
    if match := re.fullmatch(r"stages\.(\d+)\.(\d+)\.(.+)", key):
        pooled = int(match[2]) == 0 and int(match[1]) > 0  # the first block of a later stage averages before
        inside = match[3].replace("idpath.", f"idpath.{int(pooled)}.")
        return f"{int(match[1]) + STAGES}.{match[2]}.{inside}"
    return key


def sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Options of `xresnet1d` with these weights, under the project's names."""
    blocks: list[int] = []
    while f"{len(blocks) + STAGES}.0.convs.0.0.weight" in state:
        stage = len(blocks) + STAGES
        blocks.append(sum(re.fullmatch(rf"{stage}\.\d+\.convs\.0\.0\.weight", key) is not None for key in state))
    first = [state[f"{stage + STAGES}.0.convs.0.0.weight"] for stage in range(len(blocks))]
    last = f"{STAGES}.0.convs.2.0.weight"
    widths = [len(weight) for weight in first]
    return {
        "in_d": state["0.0.weight"].shape[1],
        "blocks": blocks,
        "widths": widths,
        "expansion": len(state[last]) // widths[0] if last in state else 1,
        "stem": [len(state[f"{place}.0.weight"]) for place in range(STEM) if f"{place}.0.weight" in state],
        "kernel_size": state[f"{STAGES}.0.convs.1.0.weight"].shape[2],
        "stem_kernel_size": state["0.0.weight"].shape[2],
    }
