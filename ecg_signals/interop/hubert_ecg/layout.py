"""HuBERT-ECG's published layouts: the `.pt` files of its training scripts and its Hugging Face folders.

A `.pt` holds a pickled config object (read here as a plain dict), the weights and the training state; a folder holds
`config.json` and `model.safetensors`.
"""

from collections.abc import Mapping
from typing import Any

from ecg_signals.checkpoint.origin import read_origin
from ecg_signals.checkpoint.plain import plain_values
from ecg_signals.config import ConfigError
from ecg_signals.interop.hubert_ecg.contract import LICENCE, decimation_factor, hubert_ecg
from ecg_signals.interop.hubert_ecg.names import (
    from_checkpoint,
    from_config,
    is_hubert_ecg,
    is_published_checkpoint,
    to_checkpoint,
    to_config,
)
from ecg_signals.interop.layout import Layout, ModelSource
from ecg_signals.metrics.calibrated import read_calibration
from ecg_signals.metrics.logits import KINDS_OF_TASKS
from ecg_signals.registry import register_layout
from ecg_signals.signal.contract import SignalContract

_TRAINING = ("global_step", "patience_count", "optimizer_state_dict", "lr_scheduler_state_dict")


@register_layout("hubert_ecg")
class HubertEcgFiles(Layout):
    title = "HuBERT-ECG .pt; HuBERT-ECG Hugging Face folder"
    models = ("hubert_ecg", "hubert_ecg_classifier")

    def recognise(self, raw: Mapping[str, Any]) -> bool:
        return is_published_checkpoint(raw) or (_is_folder(raw) and is_hubert_ecg(raw.get("weights") or {}))

    def read(self, raw: dict[str, Any], where: str) -> ModelSource:
        folder = _is_folder(raw)
        config = raw["huggingface"] if folder else raw.get("model_config") or {}
        try:
            name, options, state, labels = from_config(config, raw["weights"]) if folder else from_checkpoint(raw)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
        return ModelSource(
            name, options, state, labels, _contract(raw, options), raw=raw, layout="HuBERT-ECG .pt", where=where,
            logit_kind=KINDS_OF_TASKS.get(str(config.get("task_type"))),  # of its later package; older ones do not tell
            origin=read_origin(raw.get("origin", {"licence": LICENCE})),  # files of ours say it
            calibration=read_calibration(raw.get("calibration"), where),
        )  # fmt: skip

    def write(self, source: ModelSource) -> dict[str, Any]:
        content = to_checkpoint(source.name, source.options, source.state, source.labels)
        content["model_config"] |= _task_type(source)
        content["origin"] = dict(source.origin)
        if source.calibration is not None:
            content["calibration"] = plain_values(source.calibration.stored)
        if is_published_checkpoint(source.raw):
            content |= {key: plain_values(source.raw[key]) for key in source.raw if _is_training_state(key)}
        return content if source.signal is None else {**content, "signal": source.signal.to_dict()}

    def folder_config(self, source: ModelSource) -> dict[str, Any]:
        config = to_config(source.name, source.options, source.labels) | _task_type(source)
        classes = {"AutoConfig": "HuBERTECGConfig", "AutoModel": "HuBERTECG"}
        if source.name == "hubert_ecg_classifier":
            classes["AutoModelForSequenceClassification"] = "HuBERTECGForClassification"
        auto_map = {key: f"hubert_ecg.{name}" for key, name in classes.items()}
        return {**config, "model_type": "hubert_ecg", "auto_map": auto_map}


def _is_folder(raw: Mapping[str, Any]) -> bool:
    return isinstance(raw.get("huggingface"), Mapping)


def _contract(raw: Mapping[str, Any], options: Mapping[str, Any]) -> SignalContract | None:
    """What the file states; the published input for a file that is not of ours and states none."""
    stored = raw.get("signal")
    if isinstance(stored, Mapping) or "origin" in raw:
        return SignalContract.from_dict(stored) if stored else None
    return input_contract(options)


def input_contract(options: Mapping[str, Any]) -> SignalContract | None:
    """The published input for the front end's stride; None for a stride that none has."""
    try:
        return hubert_ecg(decimation_factor(options["conv_stride"]))
    except ConfigError:
        return None


def _is_training_state(key: str) -> bool:
    """Whether a key of a published `.pt` is about its run: counters, scores, optimizer and schedule."""
    return key in _TRAINING or key.startswith(("best_val_", "target_val_"))


def _task_type(source: ModelSource) -> dict[str, str]:
    """The published name of what the logits are, where it is known and has one."""
    names = [task for task, kind in KINDS_OF_TASKS.items() if kind == source.logit_kind]
    return {"task_type": names[0]} if names else {}
