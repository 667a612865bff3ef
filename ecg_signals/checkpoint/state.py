"""Training state as one dict in fairseq-signals' layout, and back."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ecg_signals import __version__
from ecg_signals.checkpoint.building import naming
from ecg_signals.checkpoint.fairseq import OURS, config_of, convert
from ecg_signals.checkpoint.layout import ModelSource, logit_kind_of
from ecg_signals.checkpoint.load import fill
from ecg_signals.checkpoint.optimizer_state import (
    flatten_optimizer_state,
    merge_optimizer_state,
    unflatten_optimizer_state,
)
from ecg_signals.checkpoint.read import read_checkpoint
from ecg_signals.checkpoint.write import snapshot
from ecg_signals.composition import DEFAULT_NAMES
from ecg_signals.config import MISSING, ConfigError, parse_literal
from ecg_signals.interop.fairseq_signals.ignored import stored_values
from ecg_signals.models.base import BaseModel
from ecg_signals.registry import get_entry
from ecg_signals.runtime.collectives import from_rank_zero
from ecg_signals.runtime.strategy import Load, load_whole
from ecg_signals.sections import REGISTERED_GROUPS, CheckpointConfig, Config, DatasetConfig
from ecg_signals.signal.leads import lead_indices

logger = logging.getLogger(__name__)

FORMAT = 1  # of extra_state["ecg_signals"]
_CFG_ORDER = (
    "_name",
    "common",
    "common_eval",
    "distributed_training",
    "dataset",
    "optimization",
    "checkpoint",
    "model",
    "task",
    "criterion",
    "lr_scheduler",
    "optimizer",
)
_CRITERIA = {
    "3kg": "ThreeKGCriterion",
    "arcface": "ArcFaceCriterion",
    "binary_cross_entropy": "BinaryCrossEntropyCriterion",
    "binary_cross_entropy_with_logits": "BinaryCrossEntropyWithLogitsCriterion",
    "cmsc": "CMSCCriterion",
    "composite_criterion": "CompositeCriterion",
    "cross_entropy": "CrossEntropyCriterion",
    "mse": "MSECriterion",
    "multi_head_binary_cross_entropy": "MultiHeadBinaryCrossEntropyCriterion",
    "simclr": "SimCLRCriterion",
    "wav2vec2": "Wav2Vec2Criterion",
    "wav2vec2_with_cmsc": "Wav2Vec2WithCMSCCriterion",
}
PEER_NAMES: dict[str, frozenset[str]] = {
    "task": frozenset({"ecg_pretraining", "ecg_classification", "ecg_identification", "ecg_segmentation"}),
    "model": frozenset(
        {
            "wav2vec2",
            "wav2vec2_cmsc",
            "ecg_transformer",
            "ecg_transformer_classifier",
            "arcface",
            "nejedly2021resnet",
            "nejedly2021resnet_classifier",
            "se_wrn",
            "se_wrn_classifier",
            "convnet",
            "unet_segmentor",
            "unet_cgm_segmentor",
        }
    ),
    "criterion": frozenset(_CRITERIA),
    "optimizer": frozenset({"adam"}),
    "lr_scheduler": frozenset({"fixed", "step", "tri_stage"}),
}
_IDENTIFICATION = {  # keys that fairseq-signals' identification task copies from other sections
    "max_tokens_valid": "dataset",
    "batch_size_valid": "dataset",
    "skip_invalid_size_inputs_valid_test": "dataset",
    "required_batch_size_multiple": "dataset",
    "seed": "common",
    "distributed_world_size": "distributed_training",
    "num_workers": "dataset",
    "data_buffer_size": "dataset",
    "fp16": "common",
}
_FLAT = "FP16Optimizer"
_HISTORY = ("criterion_name", "optimizer_name", "lr_scheduler_state", "num_updates")  # keys of one entry
_SAME_OPTIMIZER = {"FairseqAdam": "Adam", "FP16Optimizer": "Adam", "MemoryEfficientFP16Optimizer": "Adam"}


@dataclass
class Moment:
    """Where a run stands, in the numbers that fairseq-signals' layout has a place for.

    `num_updates`, `epoch` and `iterations_in_epoch` (of one rank) are those after the last finished update; at the
    end of epoch e they are e + 1 and 0. `val_loss` is the score of this save and `best` the best so far, None before
    the first validation; `training_time` in seconds, of all runs that led here.
    """

    num_updates: int
    epoch: int
    iterations_in_epoch: int
    val_loss: float | None
    best: float | None
    training_time: float


@dataclass
class Trained:
    """What training changes; an `average` of the weights and the `scaler` of losses where the recipe has them."""

    model: BaseModel
    criterion: Any
    optimizer: torch.optim.Optimizer
    schedule: Any
    average: Any = None
    scaler: Any = None

    def states(self) -> dict[str, Any]:
        """The states that hold tensors, by name and by reference."""
        parts = {"model": self.model, "criterion": self.criterion, "optimizer": self.optimizer, "average": self.average}
        return {key: part.state_dict() for key, part in parts.items() if part is not None}


@dataclass
class RestoredState(Moment):
    """What a checkpoint holds for training; `ours` is empty for fairseq-signals' files, but for a stored loss scale."""

    where: str
    cfg: dict[str, Any]
    model_state: dict[str, Tensor]
    criterion_state: dict[str, Tensor] | None
    criterion_class_name: str | None
    optimizer_class_name: str | None
    optimizer: dict[str, Any] | None
    schedule_state: dict[str, Any]
    average: dict[str, Tensor] | None = None
    ours: dict[str, Any] = field(default_factory=dict)
    raw: dict[str, Any] = field(default_factory=dict)

    @property
    def source(self) -> ModelSource:
        """The file as a description of its model."""
        return convert(self.raw, self.where)

    def load_model(self, model: BaseModel, criterion: nn.Module, load: Load = load_whole) -> None:
        """Fill both with the stored weights. Raises: ConfigError naming the keys that do not fit."""
        fill(model, self.model_state, self.where, load)
        if self.criterion_state and criterion.state_dict():
            try:
                load(criterion, self.criterion_state)
            except RuntimeError as error:
                raise ConfigError(
                    f"{self.where}: the stored criterion does not fit this recipe's: {error}. Go on with "
                    f"the criterion it was trained with, {self.criterion_class_name}, and its options"
                ) from None

    def keep_arithmetic(self, options: Any) -> dict[str, Any]:
        """Set the options of a model under which published weights were trained, before the model is built.

        A run that goes on from a file of fairseq-signals keeps them to its end: its own checkpoints name them.
        Returns: what `ours["published_options"]` of the next checkpoint holds; empty for a run that began with us.
        """
        if self.ours.get("format"):
            kept = dict(self.ours.get("published_options") or {})
        else:
            kept = get_entry("model", options._name).cls.published_options()
        kept = {key: value for key, value in kept.items() if hasattr(options, key)}
        changed = {key: value for key, value in kept.items() if getattr(options, key) != value}
        if changed:
            listed = " ".join(f"model.{key}={value}" for key, value in changed.items())
            logger.warning("%s was trained with the published arithmetic, which is kept: %s", self.where, listed)
        for key, value in changed.items():
            setattr(options, key, value)
        return kept

    def load_optimizer(
        self, optimizer: torch.optim.Optimizer, criterion: nn.Module, config: Config, load: Load = load_whole
    ) -> None:
        """Restore the optimizer's moments; its options are the recipe's, then `checkpoint.optimizer_overrides`.

        Raises: ConfigError when the stored state belongs to another criterion, optimizer or set of parameters.
        """
        if self.optimizer is None:
            raise ConfigError(f"{self.where} holds no optimizer state; set checkpoint.reset_optimizer=true")
        check_history(self, config, type(criterion).__name__, type(optimizer).__name__)
        overrides = parse_literal(config.checkpoint.optimizer_overrides, "checkpoint.optimizer_overrides")
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        steps = self.ours.get("optimizer_steps")
        stored = snapshot(unflatten_optimizer_state(self.optimizer, parameters, steps))  # off the memory-mapped file
        load(optimizer, merge_optimizer_state(stored, optimizer.state_dict(), overrides))


def pack_state(
    config: Config,
    trained: Trained,
    moment: Moment,
    states: Mapping[str, Any],
    ours: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """A checkpoint's content, with plain containers only and the keys in fairseq-signals' order.

    Args:
        config: the whole recipe; what fairseq-signals has goes into `cfg`, all of it into
            `extra_state["ecg_signals"]`, beside the model's labels and input contract.
        states: `trained.states()`, every tensor whole; weights are stored as float32 on the CPU, the optimizer's
            not with `checkpoint.no_save_optimizer_state`.
        ours: what else only this package has: data position, statistics, ...; no validation scores.
    """
    extra: dict[str, Any] = {
        "metrics": {},
        "previous_training_time": float(moment.training_time),
        "train_iterator": {
            "version": 2,
            "epoch": int(moment.epoch),
            "iterations_in_epoch": int(moment.iterations_in_epoch),
            "shuffle": True,
        },
        "val_loss": None if moment.val_loss is None else float(moment.val_loss),
    }
    if moment.best is not None:
        extra["best"] = float(moment.best)
    extra[OURS] = _ours(config, trained.model, states.get("average")) | plain_values(ours)
    history = {
        "criterion_name": _criterion_class(config, type(trained.criterion).__name__),
        "optimizer_name": _optimizer_class(config, type(trained.optimizer).__name__),
        "lr_scheduler_state": plain_values(trained.schedule.state_dict()),
        "num_updates": int(moment.num_updates),
    }
    state = {
        "args": None,
        "cfg": peer_config(config),
        "model": to_cpu(states["model"]),
        "criterion": to_cpu(states["criterion"]) or None,
        "optimizer_history": [history],
        "task_state": {},
        "extra_state": extra,
    }
    if not config.checkpoint.no_save_optimizer_state:
        state["last_optimizer_state"] = _pack_optimizer(config, trained.optimizer, states["optimizer"], extra[OURS])
    return state


def _pack_optimizer(
    config: Config, optimizer: torch.optim.Optimizer, state: dict[str, Any], ours: dict[str, Any]
) -> dict[str, Any]:
    """`last_optimizer_state`, in the form that fairseq-signals has for this recipe."""
    state = plain_values(state)
    if config.optimizer._name == "adam":
        for item in state["state"].values():
            item["step"] = int(item["step"])
    if _optimizer_class(config, "") == _FLAT and not config.common.fp16_no_flatten_grads:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        state, ours["optimizer_steps"] = flatten_optimizer_state(state, parameters)
    if ours.get("scaler"):
        state["loss_scale"] = float(ours["scaler"]["scale"])
    return state


def _ours(config: Config, model: BaseModel, average: Any) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": __version__,
        "options": plain_values(config.to_dict()),
        "labels": plain_values(model.labels),
        "logit_kind": logit_kind_of(config.to_dict()),
        "signal": plain_values(model.signal.to_dict()) if model.signal is not None else None,
        "origin": plain_values(model.origin),
        "average": to_cpu(average) if average is not None else None,
    }


def peer_config(cfg: Config) -> dict[str, Any]:
    """`cfg` as fairseq-signals' own schema holds it; groups that it does not know are stored whole."""
    found = cfg.peer_dict()
    dataset_keys = [key for key, item in DatasetConfig.__dataclass_fields__.items() if not item.metadata.get("ours")]
    found["dataset"] = {key: found["dataset"][key] for key in dataset_keys}
    found["dataset"]["_name"] = None
    for section in (key for key in found if found[key]):
        usual = stored_values(section, found[section]["_name"], found)
        found[section] |= {key: cfg.ignored.get(section, {}).get(key, value) for key, value in usual.items()}
    for group in REGISTERED_GROUPS:
        section = getattr(cfg, group)
        if section is not None and section._name not in PEER_NAMES[group]:
            found[group] = section.to_dict()
    if found["task"] and found["task"]["_name"] == "ecg_identification":
        found["task"] |= {key: found[group][key] for key, group in _IDENTIFICATION.items()}
    for key in ("leads_to_load", "leads_bucket"):  # a string there, which the peer takes for a list of numbers
        if found["task"] and found["task"].get(key) not in (None, MISSING):
            found["task"][key] = str(lead_indices(found["task"][key]))
    if found["optimizer"] and "adam_betas" in found["optimizer"]:
        found["optimizer"]["adam_betas"] = str(tuple(found["optimizer"]["adam_betas"]))
    return plain_values({key: found[key] for key in _CFG_ORDER})


def unstarted_history(cfg: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`optimizer_history` of a file without training state; fairseq-signals reads its last entry on every load."""
    criterion = (cfg.get("criterion") or {}).get("_name") or DEFAULT_NAMES["criterion"]
    common = cfg.get("common") or {}
    return [
        {
            "criterion_name": _CRITERIA.get(criterion, criterion),
            "optimizer_name": "FP16Optimizer" if common.get("fp16") else "Adam",
            "lr_scheduler_state": {"best": None},
            "num_updates": 0,
        }
    ]


def check_peer_layout(raw: Mapping[str, Any], where: str) -> None:
    """Read a file as fairseq-signals does, key by key. Raises: ConfigError naming what it would stop at."""
    extra, history = raw.get("extra_state") or {}, raw.get("optimizer_history") or [{}]
    wanted = {
        "cfg.model._name": ((raw.get("cfg") or {}).get("model") or {}).get("_name"),
        "model": raw.get("model"),
        "extra_state.train_iterator.epoch": (extra.get("train_iterator") or {}).get("epoch"),
        **{f"optimizer_history[-1].{key}": history[-1].get(key) for key in _HISTORY},
    }
    missing = [key for key, value in wanted.items() if value is None]
    if missing:
        raise ConfigError(f"{where} was written, but fairseq-signals would stop at {', '.join(missing)}")


def _criterion_class(cfg: Config, class_name: str) -> str:
    return _CRITERIA.get(cfg.criterion._name, class_name)


def _optimizer_class(cfg: Config, class_name: str) -> str:
    if cfg.optimizer._name not in PEER_NAMES["optimizer"]:
        return class_name
    if cfg.common.memory_efficient_fp16:
        return "MemoryEfficientFP16Optimizer"
    return "FP16Optimizer" if cfg.common.fp16 else "Adam"


def to_cpu(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights on the CPU, half precisions as float32; views of larger buffers are copied."""
    return {key: _own_storage(_float32(value.detach()).cpu()) for key, value in state.items()}


def _float32(value: Tensor) -> Tensor:
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


def _own_storage(value: Tensor) -> Tensor:
    whole = value.untyped_storage().nbytes() == value.numel() * value.element_size()
    return value if whole else value.clone()


def plain_values(value: Any) -> Any:
    """Dicts, lists, tuples, numbers, strings and CPU tensors, which is all that `weights_only=True` takes.

    Arrays become tensors, numpy numbers Python's, paths strings. Raises: TypeError for any other object.
    """
    if isinstance(value, Tensor):
        return _own_storage(value.detach().cpu())
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(value))
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {plain_values(key): plain_values(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(plain_values(item) for item in value)
    if isinstance(value, (list, set, frozenset)):
        return [plain_values(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, torch.dtype)):
        return value
    raise TypeError(f"a checkpoint holds plain values only, not {type(value).__name__}")


def unpack_state(path: str | os.PathLike[str], section: CheckpointConfig) -> RestoredState:
    """A checkpoint's content taken apart; older forms of fairseq-signals' layout are brought up to date.

    With several ranks rank 0 reads the file, unless `checkpoint.load_checkpoint_on_all_dp_ranks` is set.
    Raises: ConfigError when the file cannot be read or has no weights.
    """

    def read() -> dict[str, Any]:
        return read_checkpoint(path)

    raw = read() if section.load_checkpoint_on_all_dp_ranks else from_rank_zero(read)
    with naming(str(path), "its training state is not of this form; set checkpoint.restore_file to another checkpoint"):
        return restored_state(raw, str(path))


def restored_state(raw: Mapping[str, Any], where: str) -> RestoredState:
    """What `unpack_state` returns, from the content of a checkpoint called `where`."""
    raw, extra, last = _upgraded(raw, where)
    position = extra["train_iterator"]
    best, val_loss, optimizer = extra.get("best"), extra.get("val_loss"), raw.get("last_optimizer_state")
    ours = dict(extra.get(OURS) or {})
    if optimizer and optimizer.get("loss_scale") and not ours.get("scaler"):
        ours["scaler"] = {"scale": float(optimizer["loss_scale"])}
    return RestoredState(
        where=where,
        cfg=config_of(raw),
        model_state=dict(raw["model"]),
        criterion_state=dict(raw["criterion"]) if raw.get("criterion") else None,
        criterion_class_name=last.get("criterion_name"),
        optimizer_class_name=last.get("optimizer_name"),
        optimizer=optimizer,
        schedule_state=last["lr_scheduler_state"],
        num_updates=int(last["num_updates"]),
        epoch=max(int(position.get("epoch") or 1), 1),
        iterations_in_epoch=int(position.get("iterations_in_epoch") or 0),
        val_loss=None if val_loss is None else float(val_loss),
        best=None if best is None else float(best),
        training_time=float(extra.get("previous_training_time") or 0.0),
        average=ours.pop("average", None),
        ours=ours,
        raw=raw,
    )


def _upgraded(raw: Mapping[str, Any], where: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The file, its `extra_state` and its last history entry, with every key of today's layout."""
    state = dict(raw)
    if "model" not in state:
        raise ConfigError(
            f"{where} has no weights under 'model'; it holds {', '.join(map(str, state)) or 'nothing'}. Training "
            f"resumes from its own and fairseq-signals' files; to start from the weights of another, set "
            f"model.model_path={where}"
        )
    extra = dict(
        state.get("extra_state") or {key: state[key] for key in ("epoch", "batch_offset", "val_loss") if key in state}
    )
    history = [dict(item) for item in state.get("optimizer_history") or [{"best_loss": state.get("best_loss")}]]
    last = history[-1]
    if "last_optimizer_state" not in state:
        moved = last.pop("optimizer", None) or state.get("optimizer")
        if moved is not None:
            state["last_optimizer_state"] = moved
    last.setdefault("lr_scheduler_state", {"best": last.get("best_loss")})
    last.setdefault("num_updates", 0)
    if "train_iterator" not in extra:
        extra["train_iterator"] = {
            "epoch": extra.get("epoch", 1),
            "iterations_in_epoch": extra.get("batch_offset", 0),
        }
    return state, extra, last


def check_history(restored: RestoredState, cfg: Config, criterion_class_name: str, optimizer_class_name: str) -> None:
    """Whether the stored optimizer state belongs to this recipe's criterion and optimizer.

    Half and single precision store the same state here, so switching between them is fine.
    Raises: ConfigError naming both and the option that forgets the stored state.
    """
    pairs = (
        ("criterion", restored.criterion_class_name, _criterion_class(cfg, criterion_class_name)),
        ("optimizer", restored.optimizer_class_name, _optimizer_class(cfg, optimizer_class_name)),
    )
    for kind, stored, current in pairs:
        if stored and _SAME_OPTIMIZER.get(stored, stored) != _SAME_OPTIMIZER.get(current, current):
            raise ConfigError(
                f"the checkpoint was trained with the {kind} {stored}, this recipe has {current} ({kind}._name="
                f"{getattr(cfg, kind)._name}). Keep the {kind}, or set checkpoint.reset_optimizer=true to start its "
                f"state afresh."
            )
