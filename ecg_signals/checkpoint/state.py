"""Training state as one dict in fairseq-signals' layout, and back."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from ecg_signals.checkpoint.building import naming
from ecg_signals.checkpoint.load import fill
from ecg_signals.checkpoint.optimizer_state import (
    flatten_optimizer_state,
    merge_optimizer_state,
    unflatten_optimizer_state,
)
from ecg_signals.checkpoint.plain import plain_values, to_cpu
from ecg_signals.checkpoint.read import read_checkpoint
from ecg_signals.checkpoint.write import snapshot
from ecg_signals.config import ConfigError, parse_literal
from ecg_signals.interop.fairseq_signals.names import SAME_OPTIMIZER, optimizer_class, peer_config, peer_file
from ecg_signals.interop.hubert_ecg.old_names import OLD_CLASSES
from ecg_signals.interop.layout import ModelSource, logit_kind_of, recognise
from ecg_signals.interop.ours.layout import OURS, config_of, our_part
from ecg_signals.models.base import BaseModel
from ecg_signals.registry import get_entry
from ecg_signals.runtime.collectives import from_rank_zero, own_part
from ecg_signals.runtime.strategy import Load, load_whole
from ecg_signals.sections import CheckpointConfig, Config

logger = logging.getLogger(__name__)

_SAME = {**SAME_OPTIMIZER, **OLD_CLASSES}  # class in a checkpoint -> as it is called today


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
        return recognise(self.raw, self.where).read(self.raw, self.where)

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
        states: `trained.states()` as the strategy gathered them; weights are stored as float32 on the CPU, the
            optimizer's not with `checkpoint.no_save_optimizer_state`.
        ours: what else only this package has: data position, statistics, ...; no validation scores.
    """
    epoch, iterations = int(moment.epoch), int(moment.iterations_in_epoch)
    extra = {
        "previous_training_time": float(moment.training_time),
        "train_iterator": {"version": 2, "epoch": epoch, "iterations_in_epoch": iterations, "shuffle": True},
        "val_loss": None if moment.val_loss is None else float(moment.val_loss),
    }
    history = {
        "criterion_name": type(trained.criterion).__name__,
        "optimizer_name": optimizer_class(config, type(trained.optimizer).__name__),
        "lr_scheduler_state": plain_values(trained.schedule.state_dict()),
        "num_updates": int(moment.num_updates),
    }
    state = peer_file(peer_config(config), to_cpu(states["model"]), [history], moment.best, extra)
    state["criterion"] = to_cpu(states["criterion"]) or None
    part = our_part(config.to_dict(), trained.model, logit_kind_of(config.to_dict()))
    part["average"] = to_cpu(states["average"]) if states.get("average") is not None else None
    state["extra_state"][OURS] = part | plain_values(ours)
    if not config.checkpoint.no_save_optimizer_state:
        packed = _pack_optimizer(config, trained.optimizer, states["optimizer"], state["extra_state"][OURS])
        state["last_optimizer_state"] = packed
    return state


def _pack_optimizer(
    config: Config, optimizer: torch.optim.Optimizer, state: dict[str, Any], ours: dict[str, Any]
) -> dict[str, Any]:
    """`last_optimizer_state`, in the form that fairseq-signals has for this recipe."""
    state = plain_values(state)
    if config.optimizer._name == "adam":
        for item in state["state"].values():
            item["step"] = int(item["step"])
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    whole = all(own_part(parameter) is parameter for parameter in parameters)
    if optimizer_class(config, "") == "FP16Optimizer" and not config.common.fp16_no_flatten_grads and whole:
        state, ours["optimizer_steps"] = flatten_optimizer_state(state, parameters)
    if ours.get("scaler"):
        state["loss_scale"] = float(ours["scaler"]["scale"])
    return state


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
        extra["train_iterator"] = {"epoch": extra.get("epoch", 1), "iterations_in_epoch": extra.get("batch_offset", 0)}
    return state, extra, last


def check_history(restored: RestoredState, cfg: Config, criterion_class_name: str, optimizer_class_name: str) -> None:
    """Whether the stored optimizer state belongs to this recipe's criterion and optimizer.

    Half and single precision store the same state here, so switching between them is fine.
    Raises: ConfigError naming both and the option that forgets the stored state.
    """
    pairs = (
        ("criterion", restored.criterion_class_name, criterion_class_name),
        ("optimizer", restored.optimizer_class_name, optimizer_class(cfg, optimizer_class_name)),
    )
    for kind, stored, current in pairs:
        if stored and _SAME.get(stored, stored) != _SAME.get(current, current):
            raise ConfigError(
                f"the checkpoint was trained with the {kind} {stored}, this recipe has {current} ({kind}._name="
                f"{getattr(cfg, kind)._name}). Keep the {kind}, or set checkpoint.reset_optimizer=true to start its "
                f"state afresh."
            )
