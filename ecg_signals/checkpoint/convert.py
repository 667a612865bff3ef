"""From any layout that `load_model` reads to fairseq-signals', a Hugging Face folder, or the family's own."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ecg_signals import __version__
from ecg_signals.checkpoint.fairseq import OURS, built_in_contract, is_ours
from ecg_signals.checkpoint.huggingface import CONFIG, WEIGHTS, check_folder, write_folder
from ecg_signals.checkpoint.layout import ModelSource, layout_of
from ecg_signals.checkpoint.load import complete, files_read, load_source
from ecg_signals.checkpoint.read import read_checkpoint
from ecg_signals.checkpoint.state import (
    FORMAT,
    PEER_NAMES,
    check_peer_layout,
    peer_config,
    plain_values,
    unstarted_history,
)
from ecg_signals.checkpoint.write import write_checkpoint
from ecg_signals.composition import resolve_config
from ecg_signals.config import ConfigError, UsageError
from ecg_signals.limits import check_no_input
from ecg_signals.sections import Config

TARGETS = ("fairseq", "hf", "original")
_TRAINING = ("criterion", "optimizer_history", "task_state", "last_optimizer_state")


@dataclass(frozen=True)
class Converted:
    """What `convert` did: the model's registered name, its weights in number, and where they lie now.

    `optimizer_left`: the source holds an optimizer's state, which the written layout has no place for.
    """

    name: str
    weights: int
    labels: list[str] | None
    dest: Path
    optimizer_left: bool


def convert(source: str | os.PathLike[str], dest: str | os.PathLike[str], to: str) -> Converted:
    """Convert a checkpoint and check that what was written gives the same weights, bit by bit.

    Args:
        source: as for `load_model`.
        dest: a folder for `hf`, else a file.
        to: `fairseq`, `hf` or `original`.
    Raises: ConfigError when the source cannot be read, has no such form, or the result cannot be written.
    """
    if to not in TARGETS:
        raise UsageError(f"--to {to} is unknown; choose one of {', '.join(TARGETS)}")
    model = complete(load_source(source))
    place = Path(dest)
    check_no_input([place, place / CONFIG, place / WEIGHTS] if to == "hf" else [place], files_read(source))
    content: dict[str, Any] = {}
    if to == "hf":
        check_folder(place)
        write_folder(model, dest)
    else:
        content = to_fairseq(model) if to == "fairseq" else to_original(model)
        write_checkpoint(place, content)
    _check_written(model, dest)
    if to == "fairseq" or (to == "original" and model.name in PEER_NAMES["model"]):
        check_peer_layout(read_checkpoint(dest), str(dest))
    count = sum(value.numel() for value in model.state.values())
    return Converted(model.name, count, model.labels, place, _has_optimizer(model.raw) and not _has_optimizer(content))


def _has_optimizer(content: Mapping[str, Any]) -> bool:
    """Whether a file holds what a run needs to go on, in fairseq-signals' layout, ours or HuBERT-ECG's."""
    return any(content.get(key) for key in ("last_optimizer_state", "optimizer_state_dict"))


def _check_written(model: ModelSource, dest: str | os.PathLike[str]) -> None:
    written = complete(load_source(dest))
    wrong = [key for key, value in model.state.items() if not _equal(value, written.state.get(key))]
    if wrong or written.name != model.name:
        raise ConfigError(f"{dest} was written, but reads back differently: {', '.join(wrong[:8]) or written.name}")


def _equal(first: Tensor, second: Tensor | None) -> bool:
    return second is not None and first.shape == second.shape and torch.equal(first.nan_to_num(), second.nan_to_num())


def to_fairseq(model: ModelSource) -> dict[str, Any]:
    """fairseq-signals' layout, with ours under `extra_state`; a training state that the source has stays."""
    state = _peer_layout(model)
    state["extra_state"][OURS] = {
        **_kept_of_ours(model),
        "format": FORMAT,
        "version": __version__,
        "options": {**plain_values(model.cfg), "model": {"_name": model.name, **plain_values(model.options)}},
        "labels": plain_values(model.labels),
        "logit_kind": model.logit_kind,
        "signal": _plain_contract(model),
        "origin": plain_values(model.origin),
    }
    return state


def to_original(model: ModelSource) -> dict[str, Any]:
    """The published layout of the model's own family. Raises: ConfigError for models that only this package has."""
    if model.name in PEER_NAMES["model"]:
        state = _peer_layout(model)
        if model.signal != built_in_contract(state["cfg"], model.options):  # else it would be read back as another
            state["extra_state"]["signal"] = _plain_contract(model)
        return state
    layout = layout_of(model.name)
    if layout is None or layout.export is None:
        raise ConfigError(f"no other project publishes the model '{model.name}'; use --to fairseq or --to hf")
    return layout.export(model)


def _plain_contract(model: ModelSource) -> dict[str, Any] | None:
    return plain_values(model.signal.to_dict()) if model.signal is not None else None


def _peer_layout(model: ModelSource) -> dict[str, Any]:
    raw = model.raw if isinstance(model.raw.get("extra_state"), Mapping) else {}
    extra = raw.get("extra_state") or {}
    position = {"version": 2, "epoch": 1, "iterations_in_epoch": 0, "shuffle": True}
    cfg = _peer_cfg(model)
    state: dict[str, Any] = {
        "args": None,
        "cfg": cfg,
        "model": model.state,
        "criterion": None,
        "optimizer_history": unstarted_history(cfg),
        "task_state": {},
        "extra_state": {
            "metrics": {},
            "previous_training_time": float(extra.get("previous_training_time") or 0.0),
            "train_iterator": plain_values(extra.get("train_iterator") or position),
            "val_loss": extra.get("val_loss"),
        },
    }
    if extra.get("best") is not None:
        state["extra_state"]["best"] = float(extra["best"])
    state |= {key: plain_values(raw[key]) for key in _TRAINING if raw.get(key)}
    return state


def _kept_of_ours(model: ModelSource) -> dict[str, Any]:
    """What a file of ours holds beside the model: the data position and statistics of its run."""
    return plain_values(model.raw["extra_state"][OURS]) if is_ours(model.raw) else {}


def _peer_cfg(model: ModelSource) -> dict[str, Any]:
    """The stored recipe as fairseq-signals has it; one with default sections for models that came without."""
    if model.layout == "fairseq-signals" and model.cfg:
        return plain_values(model.cfg)
    sections = {key: value for key, value in model.cfg.items() if value is not None}
    sections["model"] = {"_name": model.name, **model.options}
    config = resolve_config(sections, lenient=True) if model.cfg else _bare_config(sections["model"])
    return peer_config(config)


def _bare_config(options: Mapping[str, Any]) -> Config:
    return resolve_config({"model": options, "criterion": None}, lenient=True)
