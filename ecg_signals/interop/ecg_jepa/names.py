"""ECG-JEPA's names of options and weights, and ours: both directions, as functions of plain containers."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ecg_signals.config import ConfigError

Options = dict[str, Any]
State = dict[str, Tensor]

SAME = (
    "patch_size", "dim", "depth", "num_heads", "mlp_ratio", "qkv_bias", "bias", "norm_eps", "layer_scale_eps",
    "num_registers", "dropout", "attn_dropout",
)  # fmt: skip
SAME_IN_PRETRAINING = (
    "pred_dim", "pred_depth", "pred_num_heads", "min_block_size", "min_keep_ratio", "max_keep_ratio",
    "encoder_momentum", "final_encoder_momentum", "weight_decay", "final_weight_decay",
)  # fmt: skip
REQUIRED = ("sampling_frequency", "channels", "patch_size", "dim", "depth", "num_heads", "bias", "qkv_bias", "norm_eps")
ENCODER, TARGET, PREDICTOR = "encoder.", "target_encoder.", "predictor."
FIRST = "patch_embed.proj.weight"  # of every encoder
ATTENTIVE, LINEAR = "attn_pool.", "fc."
LAYER = f"{ATTENTIVE}cross_attention_block"
HEAD_NAMES = {  # but for keys and values, which are one tensor there
    f"{ATTENTIVE}query_token": "pool.query", f"{LAYER}.q": "pool.q_proj", f"{LAYER}.proj": "proj", "fc": "proj",
}  # fmt: skip
FINE_TUNING = {  # what no head of ours is built by: the published protocol
    "crop_duration": 2.5, "crop_stride": 1.25, "steps": 10000, "batch_size": 128, "learning_rate": 1e-3,
    "final_learning_rate": 1e-5, "learning_rate_warmup_steps": 200, "weight_decay": 0.01, "opt_betas": [0.9, 0.99],
    "gradient_clip": 0.0, "checkpoint_interval": 100, "early_stopping_patience": 2000,
}  # fmt: skip
PRETRAINING = {  # what neither encoder nor objective of ours is built by
    "channel_size": 5000, "datasets": {"mimic-iv-ecg": 1.0}, "pred_dim": 192, "pred_depth": 8, "pred_num_heads": 6,
    "min_block_size": 10, "min_keep_ratio": 0.15, "max_keep_ratio": 0.25, "steps": 100000, "batch_size": 2048,
    "encoder_momentum": 0.998, "final_encoder_momentum": 0.9995, "learning_rate": 1e-3, "final_learning_rate": 1e-6,
    "learning_rate_warmup_steps": 10000, "weight_decay": 1e-2, "final_weight_decay": 1e-1, "opt_betas": [0.9, 0.99],
    "opt_eps": 1e-6, "gradient_clip": 0, "gradient_accumulation_steps": 1, "checkpoint_interval": 10000,
}  # fmt: skip


def is_ecg_jepa(state: Any) -> bool:
    """Whether these weights are an encoder of ECG-JEPA, with or without what pretraining or fine-tuning adds."""
    return isinstance(state, Mapping) and (f"{TARGET}{FIRST}" in state or f"{ENCODER}{FIRST}" in state)


def check_config(config: Any) -> dict[str, Any]:
    """Raises: ConfigError when it does not say how the encoder is built."""
    if not isinstance(config, Mapping):
        raise ConfigError("an ECG-JEPA checkpoint without 'config'; add its pretraining config as a dict of that name")
    missing = [key for key in REQUIRED if key not in config]
    if missing:
        raise ConfigError(f"the ECG-JEPA config lacks {', '.join(missing)}; add them")
    return dict(config)


def encoder_options(config: Mapping[str, Any], state: Mapping[str, Tensor], prefix: str) -> Options:
    """Options of `vit`; what fine-tuning may have added to the encoder is read off its weights."""
    options: Options = {key: config[key] for key in SAME if key in config}
    own = [key.removeprefix(prefix) for key in state if key.startswith(prefix)]
    options["in_d"] = state[f"{prefix}{FIRST}"].shape[1]
    options["num_registers"] = state[f"{prefix}registers"].shape[1] if "registers" in own else 0
    if not any("_ls." in key for key in own):
        options["layer_scale_eps"] = 0.0
    biased = any(re.search(r"norm\d?\.bias$", key) for key in own)  # older files have them, whatever `bias` says
    if biased != bool(config["bias"]):
        options["norm_bias"] = biased
    return options


def pretraining_options(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> Options:
    """Options of `jepa`."""
    options = encoder_options(config, state, ENCODER)
    options |= {key: config[key] for key in SAME_IN_PRETRAINING if key in config}
    return {**options, "max_update": config.get("steps", 0), "target_update": "before_forward"}


def classifier_options(config: Mapping[str, Any], head: Mapping[str, Any], state: Mapping[str, Tensor]) -> Options:
    """Options of `classifier`; `head` is the published eval_config. Raises: ConfigError without a known head."""
    encoder = encoder_options({**config, **_layer_scale(config, head)}, state, ENCODER)
    options: Options = {"encoder": {"_name": "vit", **encoder}, "head": "linear", "decay_all": False}
    options |= {"freeze_encoder": bool(head.get("frozen", False)), "head_init": "truncated"}
    register = bool(head.get("use_register", False))
    if f"{LAYER}.proj.weight" in state:
        options |= {"pool": "attentive", "pool_heads": config["num_heads"], "pool_query_proj": True}
        options |= {"pool_out_proj": False, "pool_bias": bool(config["qkv_bias"]), "pool_registers": register}
        return {**options, **_columns(state, f"{LAYER}.proj")}
    if "fc.weight" in state:
        return {**options, "pool": "register" if register else "mean", **_columns(state, "fc")}
    found = ", ".join(key for key in state if not key.startswith(ENCODER)) or "none"
    raise ConfigError(f"the fine-tuned ECG-JEPA file has no known head (found {found}; expected attn_pool.* or fc.*)")


def _layer_scale(config: Mapping[str, Any], head: Mapping[str, Any]) -> Options:
    """Where the factors began: the eval config's where the encoder had none."""
    return {"layer_scale_eps": config.get("layer_scale_eps") or head.get("layer_scale_eps") or 0.0}


def _columns(state: Mapping[str, Tensor], layer: str) -> Options:
    return {"num_labels": len(state[f"{layer}.weight"]), "head_bias": f"{layer}.bias" in state}


def classifier_state(state: Mapping[str, Tensor], heads: int) -> State:
    """Published weights under our names."""
    out: State = {}
    for key, value in state.items():
        layer, _, kind = key.rpartition(".")
        if layer == f"{LAYER}.kv":
            out[f"pool.k_proj.{kind}"], out[f"pool.v_proj.{kind}"] = value.chunk(2)
        elif key in HEAD_NAMES:
            out[HEAD_NAMES[key]] = value.reshape(heads, 1, -1)
        else:
            out[f"{HEAD_NAMES[layer]}.{kind}" if layer in HEAD_NAMES else key] = value
    return out


def published_state(state: Mapping[str, Tensor], attentive: bool) -> State:
    """Our weights of a classifier under published names and in their order."""
    import torch

    names = {ours: theirs for theirs, ours in HEAD_NAMES.items() if theirs.startswith(ATTENTIVE) == attentive}
    out: State = {}
    for key, value in state.items():
        layer, _, kind = key.rpartition(".")
        if layer == "pool.k_proj":
            out[f"{LAYER}.kv.{kind}"] = torch.cat([value, state[f"pool.v_proj.{kind}"]])
        elif key in names:
            out[names[key]] = value.reshape(1, 1, -1)
        elif layer != "pool.v_proj":
            out[f"{names[layer]}.{kind}" if layer in names else key] = value
    return out


def is_published_head(options: Mapping[str, Any]) -> bool:
    """Whether a `classifier` with these options, all of them, is one that ECG-JEPA's files can hold."""
    encoder = options.get("encoder")
    if not isinstance(encoder, Mapping) or encoder.get("_name") != "vit" or options.get("head") != "linear":
        return False
    if options.get("pool") in ("mean", "register"):
        return True
    fixed = {"pool": "attentive", "pool_heads": encoder["num_heads"], "pool_query_proj": True, "pool_out_proj": False,
             "pool_bias": encoder["qkv_bias"], "head_bias": encoder["bias"]}  # fmt: skip
    return all(options.get(key) == value for key, value in fixed.items())


def published_config(options: Mapping[str, Any], stored: Mapping[str, Any], recipe: Mapping[str, Any]) -> Options:
    """A published `config` of an encoder or objective with these options.

    Args:
        stored: of the published file that the model comes from; {} for others.
        recipe: what ours was trained by, as plain sections; fills what options do not say, before published values.
    """
    config = {**PRETRAINING, **_of_recipe(recipe), **stored}
    config |= {key: options[key] for key in (*SAME, *SAME_IN_PRETRAINING) if options.get(key) is not None}
    if "final_weight_decay" in options and options["final_weight_decay"] is None:  # it stays as it is
        config["final_weight_decay"] = config["weight_decay"]
    if options.get("max_update"):
        config["steps"] = int(options["max_update"])
    return config


def _of_recipe(recipe: Mapping[str, Any]) -> Options:
    """Options of a published config in a recipe of ours."""

    def get(section: str, key: str) -> Any:
        return (recipe.get(section) or {}).get(key)

    rates, freqs = get("optimization", "lr") or [None], get("optimization", "update_freq") or [None]
    found = {
        "channel_size": get("dataset", "window_samples"), "datasets": get("dataset", "mixture"),
        "batch_size": get("dataset", "batch_size"), "learning_rate": rates[0], "gradient_accumulation_steps": freqs[0],
        "final_learning_rate": get("lr_scheduler", "min_lr"), "opt_betas": get("optimizer", "adam_betas"),
        "learning_rate_warmup_steps": get("lr_scheduler", "warmup_updates"), "opt_eps": get("optimizer", "adam_eps"),
        "gradient_clip": get("optimization", "clip_norm"),
        "checkpoint_interval": get("checkpoint", "save_interval_updates"),
    }  # fmt: skip
    return {key: value for key, value in found.items() if value is not None}


def published_head(options: Mapping[str, Any], stored: Mapping[str, Any]) -> Options:
    """A published `eval_config` of a classifier with these options; `stored` as in `published_config`."""
    attentive, encoder = options["pool"] == "attentive", options["encoder"]
    head = {
        "use_register": options["pool_registers"] if attentive else options["pool"] == "register",
        "attn_pooling": attentive, "num_classes": options["num_labels"], "frozen": options["freeze_encoder"],
        "dropout": encoder["dropout"],
    }  # fmt: skip
    if not attentive:
        head["bias"] = options["head_bias"]
    return {"layer_scale_eps": encoder["layer_scale_eps"], "bias": False, **FINE_TUNING, **stored, **head}
