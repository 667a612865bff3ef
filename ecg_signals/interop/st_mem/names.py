"""What ST-MEM's project calls weights and sizes, and what they are here: both directions, as plain containers."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ecg_signals.config import ConfigError
from ecg_signals.interop.st_mem.contract import section
from ecg_signals.signal.leads import LEADS

HEAD_DIM = 64  # of every model of the project, whatever its width
LEADS_OF = {"12lead": LEADS, "limb_lead": LEADS[:6], "lead1": LEADS[:1], "lead2": LEADS[1:2]}  # its `dataset.lead`
PREFIXES = {"st_mem": ("st_mem_vit", "st_mem_vit"), "mtae": ("mtae_vit", "vit"), "mlae": ("mlae_vit", "mlae_vit")}
SIZES = {(768, 12, 12): "base", (384, 12, 6): "small"}  # width, depth, heads
BLOCK = {
    "norm1": "attn.norm", "attn.qkv": "attn.fn.to_qkv", "attn.proj": "attn.fn.to_out.0", "norm2": "ff.norm",
    "mlp.fc1": "ff.fn.net.0", "mlp.fc2": "ff.fn.net.3",
}  # fmt: skip
DECODER = {
    "decoder.mask_embedding": "mask_embedding", "decoder.pos_embedding": "decoder_pos_embed",
    "decoder.embed": "to_decoder_embedding", "decoder.norm": "decoder_norm", "decoder.head": "decoder_head",
}  # fmt: skip
PATCHES = "to_patch_embedding."
_OF_BLOCK = {theirs: ours for ours, theirs in BLOCK.items()}
_OF_DECODER = {theirs: ours for ours, theirs in DECODER.items()}


def is_st_mem(state: Any) -> bool:
    """Whether these weights are of the project: an encoder, with or without decoder or head."""
    if not isinstance(state, Mapping):
        return False
    inner = "encoder." if any(str(key).startswith("encoder.") for key in state) else ""
    needed = (f"{inner}pos_embedding", f"{inner}{PATCHES}2.weight", f"{inner}norm.weight")
    ends = (f"{inner}sep_embedding", f"{inner}cls_embedding")
    return all(key in state for key in needed) and any(key in state for key in ends)


def from_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of the project under our names, a head's under `proj.`; what is not known keeps its name.

    Raises: ConfigError where the two copies of the patch embedding differ.
    """
    whole = any(key.startswith("encoder.") for key in state)
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        if whole and key.startswith(PATCHES):
            twin = state.get(f"encoder.{key}")
            if twin is None or not torch.equal(twin, value):
                raise ConfigError(f"{key} is not encoder.{key}, though both are one weight; get the file again")
        else:
            found[_ours(key.removeprefix("encoder.") if whole else key)] = value
    vectors = [found.pop(key) for key in sorted(filter(_is_vector, found), key=_number)]
    return {**found, "lead_embedding": torch.stack(vectors)} if vectors else found


def to_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse, in the project's order; with a decoder the encoder's names begin with `encoder.`."""
    encoder = {key: value for key, value in state.items() if not key.startswith(("decoder.", "proj."))}
    first = [key for key in encoder if not key.startswith(("blocks.", "norm.", "lead_embedding"))]
    blocks = [key for key in encoder if key.startswith(("blocks.", "norm."))]
    inner = {_theirs(key): encoder[key] for key in first}
    vectors = encoder.get("lead_embedding")
    inner |= {} if vectors is None else {f"lead_embeddings.{row}": one.clone() for row, one in enumerate(vectors)}
    inner |= {_theirs(key): encoder[key] for key in blocks}
    rest = {_theirs(key): value for key, value in state.items() if key.startswith(("decoder.", "proj."))}
    before = {key: rest.pop(key) for key in ("mask_embedding", "decoder_pos_embed") if key in rest}
    if not before:
        return inner | rest
    copies = {key: value for key, value in inner.items() if key.startswith(PATCHES)}
    return before | {f"encoder.{key}": value for key, value in inner.items()} | copies | rest


def _is_vector(key: str) -> bool:
    return re.fullmatch(r"lead_embeddings\.\d+", key) is not None


def _number(key: str) -> int:
    return int(key.rpartition(".")[2])


def _ours(key: str) -> str:
    if match := re.fullmatch(r"(block|decoder_blocks\.)(\d+)\.(.+)\.(weight|bias)", key):
        where = "blocks" if match[1] == "block" else "decoder.blocks"
        return f"{where}.{match[2]}.{_OF_BLOCK.get(match[3], match[3])}.{match[4]}"
    if match := re.fullmatch(r"to_patch_embedding\.([123])\.(weight|bias)", key):
        return f"patch_embed.{int(match[1]) - 1}.{match[2]}"
    if match := re.fullmatch(r"head\.(weight|bias)", key):
        return f"proj.{match[1]}"
    stem, _, last = key.rpartition(".")
    return _OF_DECODER[key] if key in _OF_DECODER else f"{_OF_DECODER[stem]}.{last}" if stem in _OF_DECODER else key


def _theirs(key: str) -> str:
    if match := re.fullmatch(r"(decoder\.)?blocks\.(\d+)\.(.+)\.(weight|bias)", key):
        where = f"decoder_blocks.{match[2]}" if match[1] else f"block{match[2]}"
        return f"{where}.{BLOCK[match[3]]}.{match[4]}"
    if match := re.fullmatch(r"patch_embed\.([012])\.(weight|bias)", key):
        return f"{PATCHES}{int(match[1]) + 1}.{match[2]}"
    if match := re.fullmatch(r"proj\.(weight|bias)", key):
        return f"head.{match[1]}"
    stem, _, last = key.rpartition(".")
    return DECODER[key] if key in DECODER else f"{DECODER[stem]}.{last}" if stem in DECODER else key


def sizes(name: str, state: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the encoder and decoder with these weights, under our names; `config` says what shapes do not tell."""
    model = section(config, "model")
    (_, rows, width), size = state["pos_embedding"].shape, len(state["patch_embed.0.weight"])
    tokens = rows - (2 if name == "st_mem" else 1)
    if name == "st_mem":
        count, patch = len(state["lead_embedding"]), size
    elif name == "mtae":
        count = int(model.get("num_leads") or len(LEADS))
        patch = int(model.get("patch_size") or size // count)
    else:
        patch = int(model.get("patch_size") or 1)
        count = tokens * patch
    found = {
        "seq_len": size // patch if name == "mlae" else tokens * patch,
        "patch_size": patch,
        "leads": lead_names(count, config),
        "embed_dim": width,
        "head_dim": HEAD_DIM,
        "qkv_bias": any(key.endswith("attn.qkv.bias") for key in state),
        "decoder": "decoder.mask_embedding" in state,
    } | _blocks(state, "", width)
    if found["decoder"]:
        inner = state["decoder.mask_embedding"].shape[-1]
        blocks = _blocks(state, "decoder.", inner)
        found |= {"decoder_embed_dim": inner} | {f"decoder_{key}": blocks[key] for key in ("depth", "num_heads")}
        if "mlp_ratio" in blocks:  # of both, whose widths are rounded down: each gives the least that it can be
            found["mlp_ratio"] = max(found.get("mlp_ratio", 0.0), blocks["mlp_ratio"])
    return found


def _blocks(state: Mapping[str, Tensor], prefix: str, width: int) -> dict[str, Any]:
    """Depth, heads and inner width of the blocks whose names begin with `prefix`."""
    projections = [key for key in state if key.startswith(f"{prefix}blocks.") and key.endswith("attn.qkv.weight")]
    if not projections:
        return {"depth": 0, "num_heads": 1}
    hidden = len(state[f"{prefix}blocks.0.mlp.fc1.weight"])
    ratio = hidden / width
    found: dict[str, Any] = {"depth": len(projections), "num_heads": len(state[projections[0]]) // 3 // HEAD_DIM}
    return found | {"mlp_ratio": ratio if int(width * ratio) == hidden else (hidden + 0.5) / width}


def lead_names(count: int, config: Mapping[str, Any]) -> list[str]:
    """Of the leads that a model was built for: those that its config loads, else the first of the standard order."""
    named = LEADS_OF.get(str(section(config, "dataset").get("lead")))
    if named is None or len(named) != count:
        named = LEADS[:count]
    if len(named) != count or not count:
        raise ConfigError(f"the weights are of {count} leads; 1 to {len(LEADS)} standard leads can be")
    return list(named)


def model_name(name: str, options: Mapping[str, Any], head: bool) -> str:
    """What the project's configs call a model; one of another size by what its names begin with."""
    size = SIZES.get((options["embed_dim"], options["depth"], options["num_heads"]))
    prefix = PREFIXES[name][1 if head else 0]
    decoder = "" if head else "_dec256d4b"
    return f"{prefix}_{size}{decoder}" if size else prefix
