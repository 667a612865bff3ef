"""What MERL's project calls weights, and what they are here: both directions, and the sizes they tell."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ecg_signals.config import ConfigError
from ecg_signals.interop.layout import stated_heads
from ecg_signals.interop.st_mem.names import BLOCK

WHOLE = "ecg_encoder."  # how an encoder's names begin in a whole model
ENCODER = "encoder."  # the same here
HEADS = ("downconv.", "att_pool_head.", "proj_e.", "linear1.", "linear2.", "proj_t.")  # of a whole model, alike in both
LANGUAGE = "lm_model."  # a BERT in a whole model, alike in both
HEAD_DIM = 64  # of every published vision transformer, and of BERT
DEPTHS = {(False, 2): 18, (False, 6): 34, (True, 6): 50, (True, 23): 101}  # three convolutions, blocks of stage 3
_OF_BLOCK = {theirs: ours for ours, theirs in BLOCK.items()}
PUBLISHED_WIDTH = 768  # of the language model
_SIZED = (  # what tells a language model's sizes
    "embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight",
    "encoder.layer.0.intermediate.dense.weight",
)  # fmt: skip
_IN_BERT = re.compile(
    r"(?:embeddings\.(?:word|position|token_type)_embeddings\.weight|(?:embeddings\.LayerNorm|pooler\.dense|encoder\.layer\.\d+"
    r"\.(?:attention\.(?:self\.(?:query|key|value)|output\.(?:dense|LayerNorm))|intermediate\.dense|output\.(?:dense|LayerNorm)))"
    r"\.(?:weight|bias))"
)
_SIMPLE = {"to_patch_embedding.": "patch_embed.", "conv1.": "stem.0.", "bn1.": "stem.1."}


def is_resnet(state: Any) -> bool:
    """Whether these weights are MERL's residual encoder."""
    needed = ("conv1.weight", "layer1.0.conv1.weight", "layer4.0.conv1.weight")
    if not isinstance(state, Mapping) or any(key not in state for key in needed):
        return False
    return any(".shortcut.0." in str(key) for key in state)


def is_vit(state: Any) -> bool:
    """Whether they are its vision transformer."""
    if not isinstance(state, Mapping) or "block0.attn.fn.to_qkv.weight" not in state:
        return False
    places = state.get("pos_embedding")
    return "to_patch_embedding.weight" in state and isinstance(places, Tensor) and places.dim() == 3


def is_encoder(state: Any) -> bool:
    return is_resnet(state) or is_vit(state)


def is_whole(state: Any) -> bool:
    """Whether these weights are an encoder and what is compared with texts."""
    return is_encoder(encoder_within(state)) and "linear1.weight" in state


def encoder_within(state: Any) -> dict[str, Tensor]:
    """The encoder's weights in those of a whole model, {} where there are none."""
    if not isinstance(state, Mapping):
        return {}
    found = {str(key): value for key, value in state.items()}
    return {key.removeprefix(WHOLE): value for key, value in found.items() if key.startswith(WHOLE)}


def from_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of the project's encoders under our names."""
    return {_ours(key): value for key, value in state.items()}


def to_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse; ours are in the project's order."""
    return {_theirs(key): value for key, value in state.items()}


def _ours(key: str) -> str:
    if match := re.fullmatch(r"layer(\d)\.(\d+)\.(.+)", key):
        inside = re.sub(r"^(conv|bn)(\d)", lambda found: f"convs.{int(found[2]) - 1}.{int(found[1] == 'bn')}", match[3])
        return f"stages.{int(match[1]) - 1}.{match[2]}.{inside}"
    if match := re.fullmatch(r"block(\d+)\.(.+)\.(weight|bias)", key):
        return f"blocks.{match[1]}.{_OF_BLOCK.get(match[2], match[2])}.{match[3]}"
    return next((ours + key.removeprefix(start) for start, ours in _SIMPLE.items() if key.startswith(start)), key)


def _theirs(key: str) -> str:
    if match := re.fullmatch(r"stages\.(\d)\.(\d+)\.(.+)", key):
        inside = re.sub(r"^convs\.(\d)\.([01])", _layer_of_block, match[3])
        return f"layer{int(match[1]) + 1}.{match[2]}.{inside}"
    if match := re.fullmatch(r"blocks\.(\d+)\.(.+)\.(weight|bias)", key):
        return f"block{match[1]}.{BLOCK[match[2]]}.{match[3]}"
    return next((start + key.removeprefix(ours) for start, ours in _SIMPLE.items() if key.startswith(ours)), key)


def _layer_of_block(found: re.Match[str]) -> str:
    return f"{('conv', 'bn')[int(found[2])]}{int(found[1]) + 1}"


def sizes(state: Mapping[str, Tensor], config: Mapping[str, Any], where: str) -> tuple[str, dict[str, Any]]:
    """Registered name and options of an encoder with these weights, under the project's names.

    config: arguments of its program that lie beside the file, for the number of heads, which weights do not tell.
    Raises: ConfigError for a residual network of a depth that is not known.
    """
    if is_vit(state):
        return "merl_vit", _vit(state, config, where)
    deep = "layer1.0.conv3.weight" in state
    blocks = sum(re.fullmatch(r"layer3\.\d+\.conv1\.weight", key) is not None for key in state)
    if (deep, blocks) not in DEPTHS:
        raise ConfigError(f"{where} holds a residual network of MERL's with {blocks} blocks in its third stage; known "
                          f"are those of {', '.join(map(str, DEPTHS.values()))} layers")  # fmt: skip
    first = state["conv1.weight"]
    classes = len(state["linear.weight"]) if "linear.weight" in state else 0
    return "merl_resnet", {"depth": DEPTHS[deep, blocks], "width": len(first), "in_d": first.shape[1],
                           "unused_classes": classes}  # fmt: skip


def head_sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Options of `merl` beside its encoder. Raises: ConfigError where parts of a whole model are missing."""
    places, text = state.get("att_pool_head.positional_embedding"), state.get("proj_t.0.weight")
    if text is None:
        raise ConfigError("weights of a whole MERL model lack proj_t.0.weight; get the file again")
    return {
        "frames": 0 if places is None else places.shape[1] - 1, "out_dim": len(state["linear1.weight"]),
        "hidden_dim": len(text), "text_dim": text.shape[1],
    }  # fmt: skip


def language_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those of a whole model's BERT, spelt as today; {} where there is none, a part of one, or another model."""
    found = {}
    for key, value in state.items():
        name = key.removeprefix(LANGUAGE).replace("LayerNorm.gamma", "LayerNorm.weight")
        name = name.replace("LayerNorm.beta", "LayerNorm.bias")
        if not key.startswith(LANGUAGE) or name == "embeddings.position_ids":
            continue
        if not _IN_BERT.fullmatch(name):
            return {}
        found[f"{LANGUAGE}{name}"] = value
    return found if all(f"{LANGUAGE}{name}" in found for name in _SIZED) else {}


def language_sizes(state: Mapping[str, Tensor], config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Options of `merl` for such a BERT."""
    words, places, inside = (state[f"{LANGUAGE}{name}"] for name in _SIZED)
    width, key = words.shape[1], "num_attention_heads"
    published = width == PUBLISHED_WIDTH and key not in config
    heads = width // HEAD_DIM if published else stated_heads(config, key, width, max(1, width // HEAD_DIM), where)
    layers = sum(key.endswith("intermediate.dense.weight") for key in state)
    return {"language_layers": layers, "language_ffn_dim": len(inside), "language_attention_heads": heads,
            "language_positions": len(places), "vocab_size": len(words)}  # fmt: skip


def _vit(state: Mapping[str, Tensor], config: Mapping[str, Any], where: str) -> dict[str, Any]:
    own = config.get("vit")
    stated = own if isinstance(own, Mapping) else config
    (_, patches, width), (_, leads, size) = state["pos_embedding"].shape, state["to_patch_embedding.weight"].shape
    inner = len(state["block0.attn.fn.to_qkv.weight"]) // 3
    published = inner % HEAD_DIM == 0 and "heads" not in stated
    heads = inner // HEAD_DIM if published else stated_heads(stated, "heads", inner, 1, where)
    return {
        "in_d": leads, "patches": patches, "patch_size": size, "dim": width, "num_heads": heads,
        "depth": sum(key.endswith("attn.fn.to_qkv.weight") for key in state), "head_dim": inner // heads,
        "mlp_dim": len(state["block0.ff.fn.net.0.weight"]),
    }  # fmt: skip
