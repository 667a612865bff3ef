"""`load_model`: any published or own checkpoint as a model ready for inference."""

import logging
import os
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ecg_signals import limits
from ecg_signals.checkpoint.building import WithoutDraws, build_model, check_size, naming
from ecg_signals.checkpoint.hub import fetch, is_hub_name
from ecg_signals.checkpoint.read import read_checkpoint
from ecg_signals.checkpoint.sharded import files_of as sharded_files
from ecg_signals.checkpoint.sharded import is_sharded
from ecg_signals.config import ConfigError, listed, resolve_input
from ecg_signals.interop.huggingface.folder import CONFIG, files_of, read_folder
from ecg_signals.interop.layout import (
    ModelSource,
    calibration_of,
    check_logit_kind,
    input_named,
    is_state_dict,
    logit_columns,
    recognise,
)
from ecg_signals.metrics.calibrated import check_count
from ecg_signals.models.base import BaseModel
from ecg_signals.registry import get_entry
from ecg_signals.runtime.placement import compute_device
from ecg_signals.runtime.strategy import Load, load_whole
from ecg_signals.signal.contract import SignalContract, no_contract

logger = logging.getLogger(__name__)


def load_source(source: str | os.PathLike[str]) -> ModelSource:
    """What a checkpoint says about its model, without building it.

    Args:
        source: a checkpoint, whose layout is recognised from its content; a Hugging Face folder; or `org/name`
            (or `org/name/FILE.pt`) on the Hugging Face hub. The folder may be named by its `model.safetensors`.
    Raises: ConfigError when nothing is there, it cannot be read, its layout is unknown, or its model is not registered.
    """
    path = _place_of(source)
    if path.is_dir() and not is_sharded(path):
        raw = read_folder(path)
    elif path.suffix == ".safetensors" and path.is_file():
        raw = read_folder(path.parent, path.name)
    else:
        raw = read_checkpoint(path)
    with naming(str(source), "its options do not have the form of their layout"):
        found = recognise(raw, str(source)).read(raw, str(source))
    if not is_state_dict(found.state):
        raise ConfigError(f"{source}: its weights are no dict of names and tensors; save model.state_dict()")
    check_logit_kind(found.logit_kind, str(source))
    if found.labels is not None and not all(isinstance(label, str) for label in found.labels):
        raise ConfigError(f"{source}: the names of its labels are no texts; store them as a list of texts")
    with naming(str(source), "its number of labels is no number"):
        found.calibration = found.calibration or calibration_of(found.cfg, found.logits)
        check_count(found.calibration, found.logits, str(source))
    return found


def _place_of(source: str | os.PathLike[str]) -> Path:
    """The file or folder that is meant, in the hub's cache where it is one of the hub's names."""
    path = resolve_input(source)
    return fetch(str(source)) if not path.exists() and is_hub_name(str(source)) else path


def files_read(source: str | os.PathLike[str]) -> list[Path]:
    """The files and the folder that `load_source` reads; see there."""
    path = _place_of(source)
    if path.is_dir():
        return [path, *(sharded_files(path) if is_sharded(path) else files_of(path))]
    return [path, path.parent / CONFIG] if path.suffix == ".safetensors" else [path]


def load_model(
    source: str | os.PathLike[str], device: str | torch.device = "cpu", signal: str | None = None, **overrides: Any
) -> BaseModel:
    """The model of a checkpoint, in eval mode and float32, with its `labels` and input contract `signal`.

    Args:
        source: as in `load_source`.
        device: where the model goes.
        signal: name of another input contract that its family is known with, such as fmb (docs/models.md).
        overrides: keys of the model's dataclass that replace the stored options, such as `saliency=True`. Another
            `num_labels` than the stored one gives a fresh head of that size, without names of labels.
    Raises: ConfigError as `load_source` does, when weights and model do not fit, naming the keys, and when there is
        no such device; UsageError for an override that the model does not have.
    """
    place = compute_device(device)
    found = load_source(source)
    if signal is not None:
        found.signal = input_named(found, signal)
        found.calibration = found.calibration and found.calibration.of_training()  # it was made with the other input
    if found.signal is None:
        logger.warning(no_contract(found.where))
    return build_source(found, **overrides).to(place)


def build_source(source: ModelSource, **overrides: Any) -> BaseModel:
    """Build the model that a source describes and fill it; see `load_model`. The global random state is left alone."""
    entry = get_entry("model", source.name)
    if "num_labels" in overrides and "num_labels" not in entry.dataclass.__dataclass_fields__:
        raise ConfigError(
            f"{source.where} holds '{source.name}', which has no option num_labels. For a head on its encoder: "
            f"ecg_signals.registry.build('model', 'classifier', model_path={source.where!r}, "
            f"num_labels={overrides['num_labels']})"
        )
    check_size(source)
    options = {**source.options, **overrides}
    for key, value in overrides.items():
        if isinstance(value, Mapping) and isinstance(source.options.get(key), Mapping):
            options[key] = {**source.options[key], **value}
    with naming(source.where, "its number of labels is no number"):
        same_head = source.logits in (None, logit_columns(options))
    with torch.random.fork_rng(devices=[]), WithoutDraws() if same_head else nullcontext():
        model = build_model(source, options)
    fill(model, source.state if same_head else _with_fresh_head(model, source), source.where)
    model.labels = source.labels if same_head else None
    model.signal = source.signal
    model.logit_kind = model.logit_kind or source.logit_kind
    model.origin = dict(source.origin)
    model.calibration = source.calibration if same_head else None
    if source.signal is not None:
        model.register_forward_pre_hook(FirstBatchCheck(source.signal), with_kwargs=True)
    return model.float().eval()


def _with_fresh_head(model: BaseModel, source: ModelSource) -> dict[str, Tensor]:
    """A source's weights, but the model's own where a tensor's rows are its labels and their number differs."""
    state, own = model.upgrade_state_dict(dict(source.state)), model.state_dict()
    count = logit_columns(model.cfg.to_dict())
    fresh = [
        key
        for key, value in own.items()
        if key in state and len(value.shape) and len(value) == count and len(state[key]) == source.logits
    ]
    logger.warning(
        "%s has a head for %s labels; the new one (%s) starts with random weights for %s unnamed labels: train it",
        source.where, source.logits, ", ".join(fresh), count,
    )  # fmt: skip
    return {**state, **{key: own[key] for key in fresh}}


def complete(source: ModelSource) -> ModelSource:
    """The same model with all its options named and its weights under today's names, as `ecg-convert` writes it."""
    model = build_source(source)
    options = {key: value for key, value in model.cfg.to_dict().items() if key != "_name"}
    return replace(source, options=options, state=model.state_dict())


class FirstBatchCheck:
    """Before a loaded model's first forward pass: says if `source` is not what the model was trained on.

    Before every one: a padding mask of other samples than the source's would hide the wrong ones, or none.
    """

    def __init__(self, contract: SignalContract) -> None:
        self.contract = contract
        self.done = False

    def __call__(self, model: torch.nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        if torch.compiler.is_compiling():
            return
        source = options.get("source", args[0] if args else None)
        mask = options.get("padding_mask", args[1] if len(args) > 1 else None)
        if isinstance(source, Tensor) and isinstance(mask, Tensor):
            _check_mask(mask.shape, source.shape)
        if isinstance(source, Tensor) and not self.done:
            self.contract.check_source(source)
        self.done = True


def _check_mask(mask: torch.Size, source: torch.Size) -> None:
    if mask not in (source, source[:1] + source[-1:]):
        raise ConfigError(
            f"padding_mask has the shape {list(mask)}, source {list(source)}; give True for the samples that are "
            f"padding, [batch, samples] or in source's own shape"
        )


def fill(model: BaseModel, state: Mapping[str, Tensor], where: str, load: Load = load_whole) -> None:
    """Load weights into a model, strictly. Raises: ConfigError listing the keys that do not fit."""
    if not is_state_dict(state):
        raise ConfigError(f"{where}: its weights are no dict of names and tensors; save model.state_dict()")
    name = getattr(model.cfg, "_name", None) or type(model).__name__
    fill_strictly(model, model.upgrade_state_dict(dict(state)), where, f"the model '{name}'", load)


def fill_strictly(
    model: torch.nn.Module, state: Mapping[str, Tensor], where: str, what: str = "the part", load: Load = load_whole
) -> None:
    """The same of any module; `what` it is, for messages."""
    wanted = model.state_dict()
    problems = {
        "missing in the file": [key for key in wanted if key not in state],
        "not in the model": [key for key in state if key not in wanted],
        "of another shape": [
            f"{key} ({list(state[key].shape)} in the file, {list(wanted[key].shape)} in the model)"
            for key in wanted
            if key in state and state[key].shape != wanted[key].shape
        ],
    }
    if any(problems.values()):
        fits_not = "; ".join(
            f"{kind}: {listed([limits.shown(key) for key in keys])}" for kind, keys in problems.items() if keys
        )
        raise ConfigError(
            f"{where} does not fit {what} it is loaded into. Weights {fits_not}. The architectures must "
            f"match: use the checkpoint of this model, or set the options that differ (model.KEY=VALUE)."
        )
    with naming(where, "its weights cannot be taken as numbers of the model's type"):
        load(model, dict(state))
