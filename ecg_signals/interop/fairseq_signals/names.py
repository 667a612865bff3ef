"""What fairseq-signals has and how it calls it: registered names, classes, the keys of a checkpoint's `cfg`."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ecg_signals.checkpoint.plain import plain_values
from ecg_signals.composition import DEFAULT_NAMES, reading_options
from ecg_signals.config import MISSING, BaseConfig, ConfigError, field_default
from ecg_signals.interop.fairseq_signals.ignored import stored_values
from ecg_signals.registry import register_criterion, register_dataset
from ecg_signals.sections import REGISTERED_GROUPS, Config, DatasetConfig
from ecg_signals.signal.leads import lead_indices

_SECTIONS = (  # in the order of their files
    "common", "common_eval", "distributed_training", "dataset", "optimization", "checkpoint", "model", "task",
    "criterion", "lr_scheduler", "optimizer",
)  # fmt: skip
PEER_NAMES: dict[str, frozenset[str]] = {
    "task": frozenset((
        "ecg_pretraining", "ecg_classification", "ecg_identification", "ecg_segmentation", "ecg_text_pretraining",
        "ecg_question_answering",
    )),
    "model": frozenset((
        "wav2vec2", "wav2vec2_cmsc", "ecg_transformer", "ecg_transformer_classifier", "arcface", "nejedly2021resnet",
        "nejedly2021resnet_classifier", "se_wrn", "se_wrn_classifier", "convnet", "unet_segmentor",
        "unet_cgm_segmentor",
        "m3ae", "m3ae_qa", "medvill", "ecg_language_transformer_classifier", "resnet_lstm_classifier",
        "blind_transformer_qa", "deaf_transformer_qa",
    )),
    "criterion": frozenset((  # checkpoints name their classes, which are called here as they are there
        "3kg", "arcface", "binary_cross_entropy", "binary_cross_entropy_with_logits", "cmsc", "composite_criterion",
        "cross_entropy", "mse", "multi_head_binary_cross_entropy", "simclr", "wav2vec2", "wav2vec2_with_cmsc",
        "m3ae", "medvill",
    )),
    "optimizer": frozenset({"adam"}),
    "lr_scheduler": frozenset({"fixed", "step", "tri_stage"}),
}  # fmt: skip
_IDENTIFICATION = {  # keys that fairseq-signals' identification task copies from other sections
    "max_tokens_valid": "dataset", "batch_size_valid": "dataset", "skip_invalid_size_inputs_valid_test": "dataset",
    "required_batch_size_multiple": "dataset", "seed": "common", "distributed_world_size": "distributed_training",
    "num_workers": "dataset", "data_buffer_size": "dataset", "fp16": "common",
}  # fmt: skip
_OF_CLASSIFICATION = {"label_file", "load_specific_lead"}  # of the section `task`; its other tasks have no such key
_OF_TEXTS = {"tokenizer", "pad_token", "sep_token", "max_text_size", "compute_mlm_indices", "mlm_prob", "medvill"}
_KEYS_OF_TASKS = {  # task -> such keys as it has
    "ecg_classification": _OF_CLASSIFICATION, "ecg_text_pretraining": _OF_TEXTS, "ecg_question_answering": _OF_TEXTS,
}  # fmt: skip
_HISTORY = ("criterion_name", "optimizer_name", "lr_scheduler_state", "num_updates")  # keys of one entry
SAME_OPTIMIZER = {"FairseqAdam": "Adam", "FP16Optimizer": "Adam", "MemoryEfficientFP16Optimizer": "Adam"}


def peer_config(cfg: Config) -> dict[str, Any]:
    """`cfg` as fairseq-signals' own schema holds it; groups that it does not know are stored whole."""
    found = {group: _stored(group, getattr(cfg, group)) for group in _SECTIONS}
    found["dataset"]["_name"] = None
    found["distributed_training"]["distributed_world_size"] = cfg.distributed_training.distributed_world_size or 1
    found["task"] |= task_options(cfg) if found["task"] else {}
    for group in (group for group in found if found[group]):
        usual = stored_values(group, found[group]["_name"], found)
        found[group] |= {key: cfg.ignored.get(group, {}).get(key, value) for key, value in usual.items()}
    task, optimizer = found["task"], found["optimizer"]
    if task.get("_name") == "ecg_identification":
        task |= {key: found[group][key] for key, group in _IDENTIFICATION.items()}
    for key in ("leads_to_load", "leads_bucket"):  # a string there, which the peer takes for a list of numbers
        if task.get(key) not in (None, MISSING):
            task[key] = str(lead_indices(task[key]))
    if "adam_betas" in optimizer:
        optimizer["adam_betas"] = str(tuple(optimizer["adam_betas"]))
    return plain_values({"_name": None, **{group: section or None for group, section in found.items()}})


def _stored(group: str, section: BaseConfig | None) -> dict[str, Any]:
    """The options of a section that fairseq-signals has, all of a registered thing that it does not have."""
    if section is None:
        return {}
    values = section.to_dict()
    if group in REGISTERED_GROUPS and section._name not in PEER_NAMES[group]:
        return values
    known = fields(DatasetConfig if group == "dataset" else section)
    return {item.name: values[item.name] for item in known if not item.metadata.get("ours")}


def task_options(config: Config) -> dict[str, Any]:
    """How signals are read: keys of fairseq-signals' section `task` that are options of the dataset here.

    Where this run's dataset has no such option, with the usual value. Plugins' options are left out.
    """
    here, ignored = config.dataset.to_dict(), config.ignored.get("task", {})
    others = (_OF_CLASSIFICATION | _OF_TEXTS) - _KEYS_OF_TASKS.get(config.task._name, set())
    ours = [register_dataset.get(name).dataclass for name in register_dataset.ours()]
    return {
        key: here[key] if key in here else ignored.get(key, field_default(item))
        for key, item in reading_options(ours).items()
        if not item.metadata["ours"] and key not in others
    }


def peer_file(
    cfg: Mapping[str, Any], model: Mapping[str, Any], history: list[dict[str, Any]], best: Any, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """The content of one of its files, keys in its order. `best`: score, or None; `extra`: entries of `extra_state`."""
    position = {"version": 2, "epoch": 1, "iterations_in_epoch": 0, "shuffle": True}
    usual = {"metrics": {}, "previous_training_time": 0.0, "train_iterator": position, "val_loss": None}
    state = {"args": None, "cfg": cfg, "model": model, "criterion": None, "optimizer_history": history}
    scores = {} if best is None else {"best": float(best)}
    return {**state, "task_state": {}, "extra_state": {**usual, **extra, **scores}}


def unstarted_history(cfg: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`optimizer_history` of a file without training state; fairseq-signals reads its last entry on every load."""
    criterion = (cfg.get("criterion") or {}).get("_name") or DEFAULT_NAMES["criterion"]
    known, common = criterion in register_criterion.names(), cfg.get("common") or {}
    return [
        {
            "criterion_name": register_criterion.get(criterion).cls.__name__ if known else criterion,
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


def optimizer_class(cfg: Config, class_name: str) -> str:
    """The optimizer's class as fairseq-signals calls it; `class_name` for one that it does not have."""
    if cfg.optimizer._name not in PEER_NAMES["optimizer"]:
        return class_name
    if cfg.common.memory_efficient_fp16:
        return "MemoryEfficientFP16Optimizer"
    return "FP16Optimizer" if cfg.common.fp16 else "Adam"
