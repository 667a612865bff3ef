"""An optimizer's stored moments: joined with a recipe's options, and cut into or out of fairseq-signals' flat form."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ecg_signals.config import ConfigError

logger = logging.getLogger(__name__)


def merge_optimizer_state(
    stored: Mapping[str, Any], current: Mapping[str, Any], overrides: Mapping[str, Any]
) -> dict[str, Any]:
    """The stored moments with the recipe's options: what `optimizer.load_state_dict` gets on resuming.

    Args:
        stored: from the checkpoint.
        current: `optimizer.state_dict()` of the freshly built optimizer; its options win, with a warning where they
            differ, except for the rate, which the schedule sets, and options that a group lists as `scheduled`.
        overrides: `checkpoint.optimizer_overrides`, applied last.
    Raises: ConfigError when groups or parameters do not correspond.
    """
    groups = []
    counts = [[len(group["params"]) for group in side["param_groups"]] for side in (stored, current)]
    if counts[0] != counts[1]:
        raise ConfigError(
            f"the checkpoint's optimizer has parameter groups of {counts[0]} tensors, this recipe's has {counts[1]}. "
            f"Keep the model and what is frozen as they were, or set checkpoint.reset_optimizer=true."
        )
    for index, (old, new) in enumerate(zip(stored["param_groups"], current["param_groups"])):
        for key in sorted(set(old) & set(new) - {"params", "lr", "initial_lr", *new.get("scheduled", ())}):
            if not _same(old[key], new[key]):
                logger.warning(
                    "parameter group %d: %s is %s in the checkpoint and %s in the recipe; the recipe's is used",
                    index,
                    key,
                    old[key],
                    new[key],
                )
        groups.append({**old, **new, "lr": old.get("lr", new["lr"]), "params": old["params"], **overrides})
    return {**stored, "param_groups": groups}


def _same(first: Any, second: Any) -> bool:
    sequences = isinstance(first, (list, tuple)) and isinstance(second, (list, tuple))
    return list(first) == list(second) if sequences else first == second


def flatten_optimizer_state(
    state: Mapping[str, Any], parameters: Sequence[Tensor]
) -> tuple[dict[str, Any], list[int] | None]:
    """The state as fairseq-signals' half-precision optimizer keeps it, and how often each parameter was updated.

    Its moments are one flat tensor over all weights; a parameter that never had a gradient has zeros there.
    A state of several groups has no such form and is returned as it is, with None.
    """
    found = state["state"]
    if len(state["param_groups"]) > 1 or not found:
        return dict(state), None
    steps = [int(found[index]["step"]) if index in found else 0 for index in range(len(parameters))]
    flat: dict[str, Any] = {"step": max(steps)}
    for key in ("exp_avg", "exp_avg_sq"):
        parts = [
            found[index][key] if steps[index] else torch.zeros(value.numel()) for index, value in enumerate(parameters)
        ]
        flat[key] = torch.cat([part.flatten().float().cpu() for part in parts])
    return {**state, "state": {0: flat}, "param_groups": [{**state["param_groups"][0], "params": [0]}]}, steps


def unflatten_optimizer_state(
    stored: Mapping[str, Any], parameters: Sequence[Tensor], steps: Sequence[int] | None = None
) -> dict[str, Any]:
    """The inverse of `flatten_optimizer_state`; a state that is not flat is returned as it is.

    Args:
        stored: the optimizer's state in a checkpoint.
        parameters: in the optimizer's order.
        steps: how often each was updated; None as often as the flat tensor says.
    Raises: ConfigError when the sizes do not add up.
    """
    entries = stored.get("state", {})
    flat = entries.get(0, {}).get("exp_avg") if len(entries) == 1 else None
    if flat is None or len(parameters) == 1 or flat.dim() != 1:
        return dict(stored)
    sizes = [parameter.numel() for parameter in parameters]
    if sum(sizes) != flat.numel():
        raise ConfigError(
            f"the checkpoint's optimizer state is for {flat.numel():,} weights, this model trains {sum(sizes):,}. "
            f"Set checkpoint.reset_optimizer=true to start it afresh."
        )
    moments = {
        key: value.split(sizes) for key, value in entries[0].items() if isinstance(value, Tensor) and value.dim() == 1
    }
    common = {key: value for key, value in entries[0].items() if key not in moments}
    cut = {
        index: {**common, **{key: parts[index].view_as(parameter) for key, parts in moments.items()}}
        for index, parameter in enumerate(parameters)
    }
    groups = [{**stored["param_groups"][0], "params": list(range(len(parameters)))}]
    if steps is not None:
        cut = {index: {**entry, "step": steps[index]} for index, entry in cut.items() if steps[index]}
    return {**stored, "state": cut, "param_groups": groups}
