"""What ECGFounder's project calls weights, and what they are here: both directions, and the sizes they tell."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

HEAD, ENCODER, OURS = "dense.", "encoder.", "proj."
_THEIRS = re.compile(r"stage_list\.(\d+)\.block_list\.(\d+)\.(.+)")
_OURS = re.compile(r"stages\.(\d+)\.(\d+)\.(.+)")


def is_ecgfounder(state: Any) -> bool:
    """Whether these weights are a Net1D of the project, with or without its last layer."""
    needed = ("first_conv.conv.weight", "stage_list.0.block_list.0.conv2.conv.weight")
    return isinstance(state, Mapping) and all(key in state for key in needed)


def from_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of the project under our names: a `classifier`'s where it has the last layer, else `net1d`'s."""
    head = any(key.startswith(HEAD) for key in state)
    return {_from(key, ENCODER if head else ""): value for key, value in state.items()}


def to_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse."""
    return {_to(key.removeprefix(ENCODER)): value for key, value in state.items()}


def _from(key: str, prefix: str) -> str:
    if key.startswith(HEAD):
        return OURS + key.removeprefix(HEAD)
    if match := _THEIRS.fullmatch(key):
        key = f"stages.{match[1]}.{match[2]}.{match[3]}"
    return prefix + re.sub(r"(conv\d?)\.conv\.", r"\1.", key)


def _to(key: str) -> str:
    if key.startswith(OURS):
        return HEAD + key.removeprefix(OURS)
    key = re.sub(r"\b((?:first_)?conv\d?)\.", r"\1.conv.", key)
    match = _OURS.fullmatch(key)
    return f"stage_list.{match[1]}.block_list.{match[2]}.{match[3]}" if match else key


def sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Options of `net1d` with these weights, under the project's names; see also `stated`."""
    first = state["first_conv.conv.weight"]
    blocks: list[int] = []
    for match in filter(None, map(re.compile(r"stage_list\.(\d+)\.block_list\.(\d+)\.conv1\.conv\.weight").fullmatch,
                                  state)):  # fmt: skip
        stage, block = int(match[1]), int(match[2])
        if stage == len(blocks):
            blocks.append(0)
        if stage < len(blocks):
            blocks[stage] = max(blocks[stage], block + 1)
    last = [state[f"stage_list.{stage}.block_list.0.conv3.conv.weight"] for stage in range(len(blocks))]
    middle = [state[f"stage_list.{stage}.block_list.0.conv2.conv.weight"] for stage in range(len(blocks))]
    dims, inside = [len(weight) for weight in last], [len(weight) for weight in middle]
    return {
        "in_d": first.shape[1],
        "base_dim": len(first),
        "dims": dims,
        "blocks": blocks,
        "ratio": _ratio(dims, inside),
        "kernel_size": first.shape[2],
        "group_width": min(weight.shape[1] for weight in middle),
    }


def _ratio(dims: Sequence[int], inside: Sequence[int]) -> float:
    """The number by which these widths give those, rounded down."""
    low = max(own / dim for dim, own in zip(dims, inside))
    high = min((own + 1) / dim for dim, own in zip(dims, inside))
    exact = all(int(dim * low) == own for dim, own in zip(dims, inside))
    return low if exact else (low + high) / 2  # at the edge floats may round to less


def stated(config: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `net1d` that weights do not tell, where the arguments of the project's Net1D do."""
    kinds = {"stride": ("stride", int), "use_bn": ("batch_norm", bool)}
    return {ours: config[key] for key, (ours, kind) in kinds.items() if type(config.get(key)) is kind}
