"""What Kim's ECG-JEPA calls weights, and what they are here: both directions, and the sizes they tell."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ecg_signals.config import ConfigError
from ecg_signals.interop.ecg_jepa_kim.contract import EIGHT
from ecg_signals.interop.layout import stated_heads
from ecg_signals.signal.leads import LEADS

TARGET, WHOLE = "target_encoder.", ("encoder.", "target_encoder.", "predictor.")
IN_ENCODER = {"W_P.": "patch_embed.", "encoder_blocks.blocks.": "blocks."}
IN_PREDICTOR = {
    "predictor_embed.": "embed.", "predictor_blocks.blocks.": "blocks.", "predictor_norm.": "norm.",
    "predictor_proj.": "proj.",
}  # fmt: skip
SAME = 1e-5  # what a moving average rounds off a position
IN_BLOCK = ("norm1", "norm2", "mlp.fc1", "mlp.fc2", "attn.qkv", "attn.proj")  # in the project's order
ORDER = ("mask_token", "pos_embed", "embed", "blocks", "norm", "patch_embed", "proj")


def is_encoder(state: Any) -> bool:
    """Whether these weights are an encoder of the project."""
    needed = ("W_P.weight", "pos_embed", "norm.weight")
    return isinstance(state, Mapping) and all(key in state for key in needed)


def is_whole(state: Any) -> bool:
    """Whether these weights are encoder, target encoder and predictor."""
    return isinstance(state, Mapping) and "target_encoder.W_P.weight" in state and "predictor.mask_token" in state


def from_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of the project under our names."""
    return {_renamed(key, ours=True): value for key, value in state.items()}


def to_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse, in the project's order."""
    return {_renamed(key, ours=False): state[key] for key in sorted(state, key=_place)}


def _renamed(key: str, ours: bool) -> str:
    part = next((part for part in WHOLE if key.startswith(part)), "")
    table = IN_PREDICTOR if part == "predictor." else IN_ENCODER
    inside = key.removeprefix(part)
    for theirs, our in table.items():
        old, new = (theirs, our) if ours else (our, theirs)
        if inside.startswith(old):
            return part + new + inside.removeprefix(old)
    return key


def _place(key: str) -> tuple[int, int, int, int]:
    """Of a weight of ours in the project's order: encoder, kind, block, layer; weights stay before biases."""
    part = next((place for place, part in enumerate(WHOLE) if key.startswith(part)), 0)
    inside = key.removeprefix(WHOLE[part])
    kind = next((place for place, name in enumerate(ORDER) if re.match(rf"{name}\b", inside)), len(ORDER))
    match = re.fullmatch(r"blocks\.(\d+)\.(.+)\.\w+", inside)
    block, layer = (int(match[1]), match[2]) if match else (0, "")
    return part, kind, block, IN_BLOCK.index(layer) if layer in IN_BLOCK else 0


def sizes(state: Mapping[str, Tensor], config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Options of `cropa_vit`, or of `cropa_jepa`, with these weights, under the project's names.

    Args:
        config: arguments of its program that lie beside the file, for what weights do not tell.
    Raises: ConfigError for a number of leads that are not known.
    """
    inner = TARGET if is_whole(state) else ""
    width, size = state[f"{inner}W_P.weight"].shape
    table = state[f"{inner}pos_embed"]
    patches = _patches(table)
    count = len(table) // patches
    leads = EIGHT if count == len(EIGHT) else LEADS[:count]
    if len(leads) != count or len(table) % patches:
        raise ConfigError(f"{where} has positions for {len(table)} patches, {patches} of a lead, which are not those "
                          f"of leads that are known")  # fmt: skip
    options = {"leads": list(leads), "patches": patches, "patch_size": size, "dim": width}
    blocks = _blocks(state, f"{inner}encoder_blocks.blocks.", width)
    options |= blocks | {"num_heads": _heads(config, "encoder", width, 768, 16, where)}
    if inner:
        width = state["predictor.mask_token"].shape[-1]
        depth = _blocks(state, "predictor.predictor_blocks.blocks.", width)["depth"]
        heads = _heads(config, "predictor", width, 384, 12, where)
        options |= {"pred_dim": width, "pred_depth": depth, "pred_num_heads": heads}
        if config.get("mask_type") in ("block", "random"):
            options["mask_type"] = config["mask_type"]
    return options


def _patches(table: Tensor) -> int:
    """Patches of a lead, behind which the part of a position that tells the time, its first half, begins anew."""
    time = table[:, : table.shape[1] // 2].float()
    again = (time[1:] - time[:1]).abs().amax(dim=1) < SAME
    return int(again.nonzero()[0]) + 1 if bool(again.any()) else len(table)


def _heads(config: Mapping[str, Any], part: str, width: int, published: int, usual: int, where: str) -> int:
    key = f"{part}_num_heads"
    return usual if width == published and key not in config else stated_heads(config, key, width, usual, where)


def _blocks(state: Mapping[str, Tensor], prefix: str, width: int) -> dict[str, Any]:
    depth = sum(key.startswith(prefix) and key.endswith("attn.qkv.weight") for key in state)
    hidden = len(state[f"{prefix}0.mlp.fc1.weight"]) if depth else 4 * width
    ratio = hidden / width
    return {"depth": depth, "mlp_ratio": ratio if int(ratio * width) == hidden else (hidden + 0.5) / width}
