"""The layout of fairseq-signals: `{cfg, model, optimizer_history, extra_state, ...}`."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ecg_signals.checkpoint.plain import plain_values
from ecg_signals.checkpoint.read import read_checkpoint
from ecg_signals.composition import reading_options, resolve_config
from ecg_signals.config import BaseConfig, UsageError, field_default, option_fields
from ecg_signals.interop.fairseq_signals.contract import built_in_contract
from ecg_signals.interop.fairseq_signals.names import (
    PEER_NAMES,
    check_peer_layout,
    peer_config,
    peer_file,
    unstarted_history,
)
from ecg_signals.interop.layout import (
    Layout,
    ModelSource,
    is_state_dict,
    logit_kind_of,
    model_entry,
    model_options,
)
from ecg_signals.metrics.calibrated import Calibration, read_calibration
from ecg_signals.registry import Entry, get_entry, register_layout
from ecg_signals.sections import REGISTERED_GROUPS, Config
from ecg_signals.signal.contract import SignalContract

logger = logging.getLogger(__name__)

HEAD_DIM = 64  # width of one attention head in every published size
_POSITION = ("previous_training_time", "train_iterator", "val_loss")  # entries of extra_state
_TRAINING = ("criterion", "optimizer_history", "task_state", "last_optimizer_state")


def peer_config_of(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe of a file as plain sections: its `cfg`, or an old file's `args`."""
    if isinstance(raw.get("cfg"), Mapping):
        return {key: value for key, value in raw["cfg"].items() if key != "__class__"}
    return _config_from_args({key: value for key, value in (raw.get("args") or {}).items() if not key.startswith("__")})


@register_layout("fairseq_signals")
class FairseqSignals(Layout):
    title = "fairseq-signals .pt (cfg or args, model)"
    rank = 2  # the widest description
    models = tuple(sorted(PEER_NAMES["model"]))

    def recognise(self, raw: Mapping[str, Any]) -> bool:
        has_config = isinstance(raw.get("cfg"), Mapping) or isinstance(raw.get("args"), Mapping)
        return has_config and is_state_dict(raw.get("model"))

    def read(self, raw: dict[str, Any], where: str) -> ModelSource:
        cfg = peer_config_of(raw)
        found = cfg.get("model") or {}
        entry = model_entry(found.get("_name") or found.get("arch"), cfg, where)
        options = {**entry.cls.published_options(), **model_options(entry.dataclass, found)}
        options |= _sizes_that_differ(options, entry, raw["model"], where) | entry.cls.stored_sizes(raw["model"])
        return ModelSource(
            name=entry.name,
            options=options,
            state=dict(raw["model"]),
            signal=_contract(raw, cfg, options),
            cfg=cfg,
            raw=raw,
            layout="fairseq-signals",
            where=where,
            logit_kind=logit_kind_of(cfg),
            calibration=_calibration(raw, where),
        )

    def write(self, source: ModelSource) -> dict[str, Any]:
        state = self.peer_content(source)
        if source.signal != built_in_contract(state["cfg"], source.options):  # else it would be read back as another
            state["extra_state"]["signal"] = plain_values(source.signal.to_dict()) if source.signal else None
        if source.calibration is not None and source.calibration.fitted:
            state["extra_state"]["calibration"] = plain_values(source.calibration.stored)
        return state

    def save(self, source: ModelSource, dest: Path) -> dict[str, Any]:
        content = super().save(source, dest)
        check_peer_layout(read_checkpoint(dest), str(dest))
        return content

    def peer_content(self, source: ModelSource) -> dict[str, Any]:
        """What fairseq-signals reads; a training state that the source has stays."""
        raw = source.raw if isinstance(source.raw.get("extra_state"), Mapping) else {}
        extra = raw.get("extra_state") or {}
        kept = {key: plain_values(extra[key]) for key in _POSITION if extra.get(key) is not None}
        cfg = _peer_cfg(source)
        state = peer_file(cfg, source.state, unstarted_history(cfg), extra.get("best"), kept)
        return state | {key: plain_values(raw[key]) for key in _TRAINING if raw.get(key)}


def _contract(raw: Mapping[str, Any], cfg: Mapping[str, Any], options: Mapping[str, Any]) -> SignalContract | None:
    """What the file states (`ecg-convert --to original` writes it), else the published input."""
    extra = raw.get("extra_state") or {}
    if isinstance(extra, Mapping) and "signal" in extra:
        return SignalContract.from_dict(extra["signal"]) if extra["signal"] else None
    return built_in_contract(cfg, options)


def _calibration(raw: Mapping[str, Any], where: str) -> Calibration | None:
    """What `ecg-convert --to original` wrote of it; pos_weight stands in the recipe."""
    extra = raw.get("extra_state")
    return read_calibration(extra.get("calibration"), where) if isinstance(extra, Mapping) else None


def _peer_cfg(source: ModelSource) -> dict[str, Any]:
    """The stored recipe as fairseq-signals has it; one with default sections for models that came without."""
    if source.layout == "fairseq-signals" and source.cfg:
        return plain_values(source.cfg)
    sections = {key: value for key, value in source.cfg.items() if value is not None} or {"criterion": None}
    return peer_config(resolve_config({**sections, "model": {"_name": source.name, **source.options}}, lenient=True))


def _config_from_args(args: dict[str, Any]) -> dict[str, Any]:
    """Sections from the flat argparse options of files older than hydra, with their renamed keys."""
    args = {**args, **_renamed_args(args)}
    names = {group: args.get(group) for group in REGISTERED_GROUPS} | {"model": args.get("arch")}
    names["task"] = names["task"] or "ecg_pretraining"
    cfg: dict[str, Any] = {}
    for item in option_fields(Config):
        schema = _schema(item.name, names.get(item.name), field_default(item))
        if schema is not None:
            cfg[item.name] = model_options(schema, args)
        if item.name == "task" and schema is not None:
            cfg[item.name] |= {key: args[key] for key in reading_options() if key in args}
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
