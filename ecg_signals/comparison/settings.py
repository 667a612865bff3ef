"""The recipe of one run: its protocol's, a published variant over it, the benchmark's criterion, and what was typed."""

import copy
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from ecg_signals.comparison.protocols import Protocol, put
from ecg_signals.comparison.runs import Run, judged
from ecg_signals.metrics.logits import has_values
from ecg_signals.models.heads.classifier import Classifier
from ecg_signals.registry import get_entry
from ecg_signals.sections import DatasetConfig
from ecg_signals.signal.contract import SignalContract

KEPT_IN_DATASET = {item.name for item in fields(DatasetConfig)} - {"_name", "max_tokens", "valid_subset"}
RANDOM = ("encoder", "model_path", "no_pretrained_weights")  # of a model, replaced by how it begins


def composed(
    run: Run,
    protocol: Protocol,
    recipe: Mapping[str, Any],
    counts: Mapping[str, int],
    steps: int | None,
    overrides: Mapping[str, Any],
    user_dir: str | None,
) -> dict[str, Any]:
    """Plain sections, without the paths of data and results.

    Args:
        recipe: the protocol's.
        counts: records of every split.
        steps: updates at most.
        overrides: dotted keys, typed by the user.
    """
    sections: dict[str, Any] = copy.deepcopy(dict(recipe))
    for key, value in protocol.settings.items():
        put(sections, key, value)
    if protocol.trains and not protocol.pretrained and not _frozen(sections):
        for group, values in run.model.own.items():
            sections[group] = {**sections[group], **values} if group == "dataset" else copy.deepcopy(values)
    for key, value in _published(run).items():
        put(sections, key, value)
    sections["common"] = {"seed": run.seed, "log_format": "none", "user_dir": user_dir,
                          "log_interval": (sections.get("common") or {}).get("log_interval", 100)}  # fmt: skip
    sections["task"] = {"_name": "ecg_classification"}
    sections["dataset"] = _dataset(run, sections.get("dataset") or {}, counts)
    if protocol.watched:
        sections["dataset"]["valid_subset"] = "valid,test"  # the first of them selects
        sections["common_eval"] = {"metrics": sorted({*protocol.watched.values()} - {"auroc"})}
    criterion, (metric, maximize), _ = judged(run.kind)
    sections["criterion"] = dict(criterion)
    sections["model"] = _model(run, protocol, sections.get("model") or {})
    best = {"best_checkpoint_metric": metric, "maximize_best_checkpoint_metric": maximize}
    sections["checkpoint"] = {**(sections.get("checkpoint") or {}), "no_epoch_checkpoints": True, **best}
    sections["distributed_training"] = {"distributed_world_size": 1, "distributed_no_spawn": True}
    if steps is not None and protocol.trains:
        _limit(sections, steps)
    for key, value in overrides.items():
        put(sections, key, value)
    counted = sections.get("optimization") or {}
    if (counted.get("max_epoch") or 0) > 0 and not sections["dataset"].get("validate_interval", 1):
        put(sections, "dataset.validate_interval", 1)  # else a run of few epochs ends without a state that was chosen
    return {key: value for key, value in sections.items() if key != "common_eval" or protocol.watched}


def _published(run: Run) -> Mapping[str, Any]:
    """What the preset says of the protocol and the encoder."""
    settings, encoder = dict(run.preset.settings.get(run.protocol, {})), str(run.model.encoder["_name"])
    if settings and get_entry("model", encoder).cls.is_recurrent:
        settings |= run.preset.recurrent
    if run.protocol in ("linear", "random") and encoder in run.preset.pools:
        settings["model.pool"] = run.preset.pools[encoder]
    return settings


def _frozen(sections: Mapping[str, Any]) -> bool:
    return bool((sections.get("model") or {}).get("freeze_encoder"))


def _dataset(run: Run, values: Mapping[str, Any], counts: Mapping[str, int]) -> dict[str, Any]:
    kept = {key: value for key, value in values.items() if key in KEPT_IN_DATASET}
    size = kept.get("batch_size") or 64
    contract, preset = run.model.contract, run.preset
    contract = replace(contract, stride_samples=None, window_count=None) if preset.apart else contract
    rule = kept.get("window_rule") if run.model.own else contract.rule("*")
    if preset.window_seconds or preset.apart:
        rule = preset.rule
    return {
        **kept,
        "_name": "ecg_prepared",
        "num_workers": 0,
        "batch_size": min(size, counts["train"]),
        "valid_subset": "valid",
        "window_rule": "mean" if has_values(run.kind) else preset.selecting or rule or "mean",
        "window_length": None,
        **windows(contract, preset.window_seconds, preset.stride_seconds),
    }


def windows(contract: SignalContract, seconds: float | None, stride: float | None) -> dict[str, Any]:
    """Options of the dataset: the length of a window and how they follow each other, in samples."""
    length = contract.window_samples if seconds is None else round(seconds * contract.sample_rate)
    step = contract.stride_samples if seconds is None else round((stride or seconds) * contract.sample_rate)
    count = contract.window_count if seconds is None else None
    return {"max_sample_size": length, "window_stride": None if count else step or length, "window_count": count}


def _model(run: Run, protocol: Protocol, values: Mapping[str, Any]) -> dict[str, Any]:
    if not protocol.trains:
        return {}
    left_out = {*RANDOM, *(Classifier.HEAD if run.after else ())}  # a head that is kept has its own options
    kept = {key: value for key, value in values.items() if key not in left_out}
    begun = {} if run.after else run.model.section(protocol.pretrained)
    return {**kept, "num_labels": len(run.labels), **begun}


def _limit(sections: dict[str, Any], steps: int) -> None:
    """At most so many updates, of which a tenth warm up at most."""
    limit = (sections.get("optimization") or {}).get("max_update") or steps
    put(sections, "optimization.max_update", min(int(limit), steps))
    schedule = sections.get("lr_scheduler") or {}
    if (schedule.get("warmup_updates") or 0) > steps // 10:
        put(sections, "lr_scheduler.warmup_updates", steps // 10)
