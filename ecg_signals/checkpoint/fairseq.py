"""The layout of fairseq-signals, which is also ours: `{cfg, model, optimizer_history, extra_state, ...}`.

A file of ours says more under `extra_state["ecg_signals"]`: all our options, label names and the input contract.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from torch import Tensor

from ecg_signals import limits
from ecg_signals.checkpoint.layout import Layout, ModelSource, is_state_dict, logit_kind_of, model_options
from ecg_signals.checkpoint.origin import read_origin
from ecg_signals.config import BaseConfig, ConfigError, UsageError, field_default
from ecg_signals.registry import Entry, get_entry
from ecg_signals.sections import REGISTERED_GROUPS, Config
from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.leads import LEADS, lead_indices
from ecg_signals.signal.published import ecg_fm, fairseq_signals

logger = logging.getLogger(__name__)

OURS = "ecg_signals"  # key of extra_state that holds what fairseq-signals does not have
HEAD_DIM = 64  # width of one attention head in every published size


def is_ours(raw: Mapping[str, Any]) -> bool:
    """Whether we wrote the file: `extra_state` holds our part."""
    return isinstance((raw.get("extra_state") or {}).get(OURS), Mapping)


def recognised(raw: Mapping[str, Any]) -> bool:
    """Whether a file's content has this layout."""
    has_config = isinstance(raw.get("cfg"), Mapping) or isinstance(raw.get("args"), Mapping)
    return has_config and is_state_dict(raw.get("model"))


def config_of(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe of a file as plain sections: ours whole, fairseq-signals' `cfg`, or an old file's `args`."""
    if is_ours(raw):
        return dict(raw["extra_state"][OURS]["options"])
    if isinstance(raw.get("cfg"), Mapping):
        return {key: value for key, value in raw["cfg"].items() if key != "__class__"}
    return _config_from_args({key: value for key, value in (raw.get("args") or {}).items() if not key.startswith("__")})


def convert(raw: dict[str, Any], where: str) -> ModelSource:
    """The model of a file of this layout. Raises: ConfigError when it names no model that is registered."""
    cfg = config_of(raw)
    found = cfg.get("model") or {}
    entry = model_entry(found.get("_name") or found.get("arch"), cfg, where)
    ours = raw["extra_state"][OURS] if is_ours(raw) else None
    options = {} if ours else dict(entry.cls.published_options())
    options |= model_options(entry.dataclass, found)
    if not ours:
        options |= _sizes_that_differ(options, entry, raw["model"], where)
    return ModelSource(
        name=entry.name,
        options=options,
        state=dict(raw["model"]),
        labels=list(ours["labels"]) if ours and ours.get("labels") else None,
        signal=_contract(raw, cfg, options),
        origin=read_origin((ours or {}).get("origin")),
        cfg=cfg,
        raw=raw,
        layout="ecg-signals" if ours else "fairseq-signals",
        where=where,
        logit_kind=(ours or {}).get("logit_kind") or logit_kind_of(cfg),
    )


def model_entry(name: Any, cfg: Mapping[str, Any], where: str) -> Entry:
    """The registered model that a file names. Raises: ConfigError telling how to make a plugin's model known."""
    if not name:
        raise ConfigError(
            f"{where} does not say which model it holds: its config has no model._name. Add it there (`ecg-list model`)"
        )
    name = limits.shown(name)
    try:
        return get_entry("model", name)
    except UsageError as error:
        plugin = (cfg.get("common") or {}).get("user_dir")
        plugin = limits.shown(plugin or "FOLDER")
        raise ConfigError(
            f"{where} holds a model '{name}', which no imported package registers ({error}). If your own package does, "
            f"set common.user_dir={plugin} on the command line (--user-dir {plugin} for commands without settings), or "
            "import the package before loading."
        ) from None


def _contract(raw: Mapping[str, Any], cfg: Mapping[str, Any], options: Mapping[str, Any]) -> SignalContract | None:
    """What the file states; for fairseq-signals' own, which state nothing, the built-in one. Never a guess for ours."""
    extra = raw.get("extra_state") or {}
    for stated in (extra.get(OURS), extra):
        if isinstance(stated, Mapping) and "signal" in stated:
            return SignalContract.from_dict(stated["signal"]) if stated["signal"] else None
    return None if is_ours(raw) else built_in_contract(cfg, options)


def built_in_contract(cfg: Mapping[str, Any], options: Mapping[str, Any]) -> SignalContract | None:
    """The input of fairseq-signals' files: ECG-FM's, with the rate, leads and filter that the recipe names.

    None where that is not known: for a model that takes another number of leads than its recipe names, and for input
    that was normalised with files (task.mean_path) that the checkpoint does not hold.
    """
    contract = ecg_fm()
    task = cfg.get("task") or {}
    if task.get("normalize"):
        return None
    rate = task.get("sample_rate")
    rate = float(rate) if isinstance(rate, (int, float)) and rate > 0 else contract.sample_rate
    chosen = task.get("leads_to_load")
    leads = contract.leads if chosen in (None, "???") else [LEADS[index] for index in lead_indices(chosen)]
    seconds = contract.window_samples / contract.sample_rate
    taken = options.get("in_d", options.get("input_dim"))
    if taken not in (None, len(leads)) and not options.get("leadwise"):
        return None
    return replace(
        fairseq_signals(rate, leads, round(seconds * rate), zero_missing_leads=True, filtered=bool(task.get("filter"))),
        aggregate=contract.aggregate,
    )


def _config_from_args(args: dict[str, Any]) -> dict[str, Any]:
    """Sections from the flat argparse options of files older than hydra, with their renamed keys."""
    args = {**args, **_renamed_args(args)}
    names = {group: args.get(group) for group in REGISTERED_GROUPS} | {"model": args.get("arch")}
    names["task"] = names["task"] or "ecg_pretraining"
    cfg: dict[str, Any] = {}
    for item in fields(Config):
        if item.name == "_name":
            continue
        schema = _schema(item.name, names.get(item.name), field_default(item))
        if schema is not None:
            cfg[item.name] = model_options(schema, args)
        if item.name in REGISTERED_GROUPS:
            cfg[item.name] = {**cfg.get(item.name, {}), "_name": names[item.name]} if names[item.name] else None
    return cfg


def _renamed_args(args: Mapping[str, Any]) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    if "min_lr" in args:
        changed["stop_min_lr"] = args["min_lr"]
    if args.get("criterion") == "binary_cross_entropy" and str(args.get("arch", "")).startswith("wav2vec2"):
        changed["criterion"] = "wav2vec2"
    if isinstance(args.get("lr"), float):
        changed["lr"] = [args["lr"]]
    if isinstance(args.get("data"), list) and args["data"]:
        changed["data"] = args["data"][0]
    return changed


def _schema(group: str, name: str | None, default: Any) -> type[BaseConfig] | None:
    if group not in REGISTERED_GROUPS:
        return type(default)
    try:
        return get_entry(group, name).dataclass if name else None
    except UsageError:
        return None


def _sizes_that_differ(
    options: Mapping[str, Any], entry: Entry, state: Mapping[str, Tensor], where: str
) -> dict[str, Any]:
    """Sizes of a transformer encoder where the weights contradict the stored options.

    fairseq-signals stores the fine-tuning recipe, not the encoder's, so files fine-tuned from any encoder but the
    base one claim the base sizes.
    """
    known = entry.dataclass.__dataclass_fields__
    sizes = {key: value for key, value in _encoder_sizes(state).items() if key in known}
    claimed = {key: options.get(key, field_default(known[key])) for key in sizes}
    wrong = {key: value for key, value in sizes.items() if claimed[key] != value}
    heads = options.get("encoder_attention_heads", 12)
    if "encoder_embed_dim" in wrong and isinstance(heads, int) and sizes["encoder_embed_dim"] % heads:
        wrong["encoder_attention_heads"] = sizes["encoder_embed_dim"] // HEAD_DIM
    if wrong:
        listed = ", ".join(f"{key}={value}" for key, value in wrong.items())
        logger.warning("%s: the weights do not fit the stored options; taken from the weights: %s", where, listed)
    return wrong


def _encoder_sizes(state: Mapping[str, Tensor]) -> dict[str, int]:
    prefix = "encoder." if any(key.startswith("encoder.feature_extractor.") for key in state) else ""
    shapes = {key.removeprefix(prefix): value.shape for key, value in state.items() if key.startswith(prefix)}
    layers = {int(found[1]) for key in shapes if (found := re.match(r"encoder\.layers\.(\d+)\.fc1\.weight$", key))}
    first = shapes.get("feature_extractor.conv_layers.0.0.weight")
    if not layers or first is None:
        return {}
    sizes = {
        "encoder_layers": len(layers),
        "encoder_embed_dim": shapes["encoder.layers.0.fc1.weight"][1],
        "encoder_ffn_embed_dim": shapes["encoder.layers.0.fc1.weight"][0],
        "in_d": first[1],
    }
    for ending in ("weight_v", "parametrizations.weight.original1"):
        kernel = shapes.get(f"conv_pos.pos_conv.0.{ending}")
        if kernel is not None:
            sizes |= {"conv_pos": kernel[2], "conv_pos_groups": kernel[0] // kernel[1]}
    head = state.get("proj.weight", state.get("kernel"))
    if prefix and head is not None:
        sizes["num_labels"] = head.shape[0]
    return sizes


LAYOUTS = [Layout("fairseq-signals .pt (cfg or args, model)", recognised, convert)]
