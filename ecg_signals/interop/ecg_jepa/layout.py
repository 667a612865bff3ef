"""ECG-JEPA's published layouts: whole checkpoints of pretraining, minified ones, and those of fine-tuning."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ecg_signals.checkpoint.origin import read_origin
from ecg_signals.checkpoint.plain import plain_values
from ecg_signals.config import ConfigError
from ecg_signals.interop.ecg_jepa.contract import JEPA_MEAN, JEPA_STD, ecg_jepa
from ecg_signals.interop.ecg_jepa.names import (
    TARGET,
    check_config,
    classifier_options,
    classifier_state,
    encoder_options,
    is_ecg_jepa,
    is_published_head,
    pretraining_options,
    published_config,
    published_head,
    published_state,
)
from ecg_signals.interop.ecg_jepa.tasks import SINGLE_LABEL, labels_of, task_of
from ecg_signals.interop.layout import Layout, ModelSource
from ecg_signals.metrics.calibrated import read_calibration
from ecg_signals.metrics.logits import CLASSES, LABELS
from ecg_signals.registry import register_layout
from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.leads import LEADS, lead_index

logger = logging.getLogger(__name__)

KEPT = "ecg_jepa"  # section of a ModelSource's cfg: what a published file says that no option of ours does


@register_layout("ecg_jepa")
class EcgJepaFiles(Layout):
    """Strict where the published program is not: a weight that is missing or left over is an error."""

    title = "ECG-JEPA .pt (pretraining, minified, fine-tuned; also of 2025, with biases in layer norms)"
    models = ("jepa", "vit")

    def recognise(self, raw: Mapping[str, Any]) -> bool:
        return is_ecg_jepa(raw.get("model")) and not {"cfg", "extra_state"} & raw.keys()

    def publishes(self, name: str, options: Mapping[str, Any]) -> bool:
        return super().publishes(name, options) or (name == "classifier" and is_published_head(options))

    def read(self, raw: dict[str, Any], where: str) -> ModelSource:
        try:
            config = check_config(raw.get("config"))
            source = self._fine_tuned(raw, config, where) if "eval_config" in raw else self._pretrained(raw, config)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
        kept = {key: raw[key] for key in ("config", "eval_config", "preprocess", "task", "step") if key in raw}
        source.cfg = {KEPT: _as_lists(kept)}
        source.raw, source.layout, source.where = raw, self.title.split(" (")[0], where
        source.origin = read_origin(raw.get("origin"))
        source.calibration = read_calibration(raw.get("calibration"), where)
        return source

    def _pretrained(self, raw: Mapping[str, Any], config: Mapping[str, Any]) -> ModelSource:
        state = dict(raw["model"])
        signal = _contract(config)
        if all(key.startswith(TARGET) for key in state):
            options = encoder_options(config, state, TARGET)
            alone = {key.removeprefix(TARGET): value for key, value in state.items()}
            return ModelSource("vit", options, alone, signal=signal)
        return ModelSource("jepa", pretraining_options(config, state), state, signal=signal)

    def _fine_tuned(self, raw: Mapping[str, Any], config: Mapping[str, Any], where: str) -> ModelSource:
        head, task = dict(raw["eval_config"]), raw.get("task")
        options = classifier_options(config, head, raw["model"])
        single = SINGLE_LABEL in (task, *Path(where).name.split("_"))
        if task == "superdiagnostic" and not single:
            logger.info(
                "%s: its task is taken for the one of several labels. Files of the single-label task say the same; "
                "give such a file a name with _%s_ in it, as the published program does", where, SINGLE_LABEL,
            )  # fmt: skip
        return ModelSource(
            "classifier", options, classifier_state(raw["model"], config["num_heads"]),
            labels=labels_of(task, options["num_labels"]), signal=_contract(config, head, raw.get("preprocess")),
            logit_kind=CLASSES if single else LABELS,
        )  # fmt: skip

    def write(self, source: ModelSource) -> dict[str, Any]:
        kept = source.cfg.get(KEPT) or {}
        fine_tuned = source.name == "classifier"
        options = source.options["encoder"] if fine_tuned else source.options
        config = published_config(options, kept.get("config") or _input(source.signal), source.cfg)
        if fine_tuned:
            return self._fine_tuned_content(source, config, kept)
        if source.signal is not None and not kept.get("config"):
            config["channel_size"] = source.signal.window_samples
        minified = source.name == "vit"
        state = {f"{TARGET}{key}": value for key, value in source.state.items()} if minified else dict(source.state)
        content: dict[str, Any] = {"model": state, "config": config}
        if not minified:
            content |= {key: kept[key] for key in ("step",) if key in kept}
            if self.recognise(source.raw) and "optimizer" in source.raw:
                content["optimizer"] = plain_values(source.raw["optimizer"])
        return content

    def _fine_tuned_content(
        self, source: ModelSource, config: dict[str, Any], kept: Mapping[str, Any]
    ) -> dict[str, Any]:
        attentive = source.options["pool"] == "attentive"
        single = source.logit_kind == CLASSES
        found = task_of(source.labels, single)
        statistics = kept.get("preprocess") or _statistics(source.signal)
        crops = _crops(source.signal) if source.signal else {}
        stated = {} if source.calibration is None else {"calibration": plain_values(source.calibration.stored)}
        return {
            **stated,
            "model": published_state(source.state, attentive),
            "config": {**config, "dropout": source.options["encoder"]["dropout"]},
            "eval_config": published_head(source.options, kept.get("eval_config") or crops),
            "preprocess": {key: torch.tensor(values, dtype=torch.float32) for key, values in statistics.items()},
            "task": found or kept.get("task") or "",
        }


def _contract(
    config: Mapping[str, Any], head: Mapping[str, Any] | None = None, preprocess: Mapping[str, Any] | None = None
) -> SignalContract:
    """The input of these weights: PTB-XL's statistics where a file has none, the crops of its evaluation."""
    rate = float(config["sampling_frequency"])
    longest = float(config.get("channel_size", 5000)) / rate
    crop = float((head or {}).get("crop_duration", min(2.5, longest)))
    stride = float((head or {}).get("crop_stride", crop / 2))
    statistics = _as_lists(preprocess) if preprocess else {"mean": JEPA_MEAN, "std": JEPA_STD}
    return ecg_jepa(rate, config["channels"], **statistics, crop_seconds=crop, stride_seconds=stride)


def _input(signal: SignalContract | None) -> dict[str, Any]:
    """How a published config states the input of a model. Published values where it is not known, with a warning."""
    if signal is None:
        signal = ecg_jepa()
        logger.warning("the model states no input contract, but these files must: written are 500 Hz and 12 leads")
    rate = int(signal.sample_rate) if float(signal.sample_rate).is_integer() else signal.sample_rate
    return {"sampling_frequency": rate, "channels": [lead.upper() for lead in signal.leads]}


def _crops(signal: SignalContract) -> dict[str, float]:
    """How a published eval_config states the windows of a model that it does not have from a published file."""
    samples = {"crop_duration": signal.window_samples, "crop_stride": signal.stride_samples or signal.window_samples}
    return {key: count / signal.sample_rate for key, count in samples.items()}


def _statistics(signal: SignalContract | None) -> dict[str, list[float]]:
    """`preprocess` of a model of ours: mean and deviation by which its input is standardised, all twelve leads."""
    mean, std = [0.0] * len(LEADS), [1.0] * len(LEADS)
    step = next((step for step in (signal.steps if signal else []) if step["name"] == "normalise"), None)
    if signal is None or step is None:
        raise ConfigError(
            "ECG-JEPA's files state mean and deviation of every lead, which this model's input contract does not"
        )
    for place, lead in enumerate(signal.leads):
        mean[lead_index(lead)], std[lead_index(lead)] = step["mean"][place], step["std"][place]
    return {"mean": mean, "std": std}


def _as_lists(values: Any) -> Any:
    """Plain values with lists in place of tensors and tuples."""
    if isinstance(values, Mapping):
        return {str(key): _as_lists(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [_as_lists(value) for value in values]
    return values.tolist() if isinstance(values, torch.Tensor) else values
