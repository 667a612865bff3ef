"""From a record file to probabilities per label: windows as the model was trained on, then one value per record."""

import logging
import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ecg_signals.checkpoint.load import build_source, load_source
from ecg_signals.checkpoint.origin import notes
from ecg_signals.config import ConfigError, UsageError, unknown_message
from ecg_signals.data.label_names import listed
from ecg_signals.evaluation.run import run
from ecg_signals.evaluation.windows import Logits, model_batches, record_batches
from ecg_signals.inference.reasons import FEW_LEADS, LARGE, Occlusion, Reason, Windows, explain
from ecg_signals.interop.layout import logit_columns
from ecg_signals.metrics.logits import CLASSES, COSINES, joined_logits
from ecg_signals.quality.assess import Quality, assess, refuse_unusable, without_flat
from ecg_signals.readers.plausible import refuse_scale
from ecg_signals.readers.read import read_record
from ecg_signals.runtime.placement import compute_device
from ecg_signals.signal.contract import stated_contract
from ecg_signals.signal.record import Record

logger = logging.getLogger(__name__)

BATCH = 64  # windows per forward pass
TOP = "top"  # in place of a label to be explained: the one with the highest probability


@dataclass
class Prediction:
    """What a model says about one record.

    Attributes:
        record: the file.
        probabilities: label -> one number for the record, 0 to 1 (a value, for a regression).
        windows: one dict per window: `start` and `end` in seconds, `probabilities` by label.
        warnings: what was unusual about the record, such as a missing lead.
        error: why there is no prediction, None if there is one.
        notes: what must stand beside the numbers: terms of the weights, how little a model was trained on.
        patient: names and ids of the record's file, where they were asked for.
        reasons: why a label got its probability, where that was asked for.
        quality: how far the record can be trusted, None where it could not be read.
    """

    record: str
    probabilities: dict[str, float] = field(default_factory=dict)
    windows: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    error: str | None = None
    notes: list[str] = field(default_factory=list)
    patient: dict[str, str] = field(default_factory=dict)
    reasons: list[Reason] = field(default_factory=list)
    quality: Quality | None = None


class Predictor:
    """A checkpoint with a head, ready for records.

    Args:
        source: as for `load_model`.
        device: where to compute.
        labels: names of the logits' columns, for checkpoints that do not hold them.
    Raises: ConfigError when the model has no head or no input contract, or `labels` are not as many as the logits.
    """

    def __init__(
        self, source: str | os.PathLike[str], device: str | torch.device = "cpu", labels: Sequence[str] | None = None
    ) -> None:
        self.device = compute_device(device)
        found = load_source(source)
        self.model = build_source(found).to(self.device)
        self.signal = stated_contract(self.model.signal, str(source))
        if self.model.of_samples:
            raise ConfigError(f"{source} marks waves; see them with ecg-view RECORD --waves {source}")
        count = logit_columns(self.model.cfg.to_dict())
        if count is None or self.model.logit_kind == COSINES:
            raise ConfigError(
                f"{source} holds '{found.name}', which has no classification head. Fine-tune it first: "
                f"ecg-train --config-name finetune/diagnosis model.model_path={source} ..."
            )
        if self.model.logit_kind is None:
            logger.warning("%s does not say what its logits are: taken as independent labels (sigmoid)", source)
        if labels and self.model.labels and list(labels) != self.model.labels:
            raise ConfigError(
                f"{source} names its own labels, {listed(self.model.labels)}, and those given are others, or in "
                f"another order: {listed(labels)}. Leave --labels out; it is for checkpoints that name none"
            )
        self.labels = list(labels or self.model.labels or [f"label_{index}" for index in range(count)])
        if len(self.labels) != count:
            raise ConfigError(f"{len(self.labels)} label names for a model with {count} logits; give one per logit")

    def windows(self, record: Record) -> np.ndarray:
        """[windows, labels]: probabilities of every window of a record."""
        return self.model.probabilities(self.logits(record)).numpy()

    def logits(self, record: Record) -> Tensor:
        """[windows, labels] of every window of a record, on the CPU."""
        found = Logits()
        run(self.model, record_batches(self.signal, record, BATCH), self.device, [found])
        (windows,) = found.windows()
        return windows

    def aggregate(self, logits: Tensor) -> np.ndarray:
        """Logits of windows, [windows, labels] -> probabilities [labels], as the input contract joins windows."""
        joined = joined_logits(logits, [self.signal.rule(label) for label in self.labels], self.model.logit_kind)
        return self.model.probabilities(joined).numpy()

    def logit(self, windows: Tensor, label: str) -> float:
        """The logit of a record's answer, from those of its windows [windows, labels]; a value, for a regression."""
        joined = joined_logits(
            windows.double(), [self.signal.rule(name) for name in self.labels], self.model.logit_kind
        )
        own = joined[self.labels.index(label)]
        if self.model.logit_kind == CLASSES:
            own = own - joined[[name != label for name in self.labels]].logsumexp(dim=0)
        return float(own)

    def explain(self, record: Record, label: str) -> Reason:
        """What the answer for one label rests on, by lead and time. `label` is one of `labels`."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are told with the prediction
            source, mask = self.signal.prepare(record, return_mask=True)
        windows = Windows(source, mask, self.starts(record, len(source)), self.signal.sample_rate, self.signal.leads)
        large = self.device.type == "cpu" and sum(weight.numel() for weight in self.model.parameters()) > LARGE
        occlusion = Occlusion(windows, self._ask, partial(self.logit, label=label))
        return explain(occlusion, label, FEW_LEADS if large else None)

    def _ask(self, source: Tensor, padding: Tensor | None) -> Tensor:
        found = Logits()
        batch = {"source": source} if padding is None else {"source": source, "padding": padding}
        run(self.model, model_batches([batch]), self.device, [found])
        return torch.cat(found.parts)

    def starts(self, record: Record, count: int) -> list[float]:
        """Seconds of the record at which its `count` windows begin."""
        signal = self.signal
        length = round(record.signal.shape[-1] * signal.sample_rate / record.sample_rate)
        stride = signal.stride_samples or signal.window_samples
        starts = signal.starts(length) if signal.window_count else [number * stride for number in range(count)]
        return [start / signal.sample_rate for start in starts]

    def check_label(self, label: str) -> None:
        """Raises: UsageError for a label to be explained that the model does not have."""
        if label != TOP and label not in self.labels:
            raise UsageError(unknown_message(f"label '{label}'", label, self.labels, f"{TOP}, or one of"))

    def predict(
        self, path: str | os.PathLike[str], force: bool = False, explain: str | None = None, **reading: Any
    ) -> Prediction:
        """One record file; what is wrong with it is told, not raised.

        Args:
            force: answer also where the record is unusable, such as one whose values are no ECG's in mV and whose unit
                `units` does not state.
            explain: a label whose reason is to be found, or "top" for the one with the highest probability.
            reading: options of `read_record`.
        """
        quality: Quality | None = None
        stated = force or reading.get("units") is not None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                record = read_record(path, **reading)
                quality = assess(record, scale_stated=stated)
                if not stated:
                    refuse_scale(path, record)
                if not force:
                    refuse_unusable(path, quality)
                known = without_flat(record, quality) if self.signal.zero_missing_leads else record
                prediction = self._predict(str(path), known, explain)
                prediction.patient = record.patient
            except ConfigError as error:
                prediction = Prediction(str(path), error=str(error))
        prediction.quality = quality
        prediction.warnings = list(dict.fromkeys(str(item.message) for item in caught if item.category is UserWarning))
        return prediction

    def _predict(self, path: str, record: Record, why: str | None) -> Prediction:
        logits, seconds = self.logits(record), self.signal.window_samples / self.signal.sample_rate
        windows = [
            {"start": at, "end": at + seconds, "probabilities": self._named(row)}
            for at, row in zip(self.starts(record, len(logits)), self.model.probabilities(logits).numpy())
        ]
        named = self._named(self.aggregate(logits))
        label = max(named, key=lambda name: named[name]) if why == TOP else why
        reasons = [] if label is None else [self.explain(record, label)]
        return Prediction(path, named, windows, notes=notes(self.model.origin), reasons=reasons)

    def _named(self, row: np.ndarray) -> dict[str, float]:
        return {label: float(value) for label, value in zip(self.labels, row)}


def as_text(predictions: Iterable[Prediction]) -> str:
    """One block per record: labels by falling probability, with the lowest and highest window behind them; then what
    holds for all of them.
    """
    predictions = list(predictions)
    said = dict.fromkeys(f"note: {note}" for prediction in predictions for note in prediction.notes)
    return "\n\n".join([*map(_block, predictions), *(["\n".join(said)] if said else [])])


def _block(prediction: Prediction) -> str:
    lines = [prediction.record]
    quality = [f"  quality: {prediction.quality.line()}"] if prediction.quality else []
    if prediction.error:
        return "\n".join([*lines, *quality, f"  error: {prediction.error}"])
    lines[0] += f": {len(prediction.windows)} window{'s' if len(prediction.windows) != 1 else ''}"
    lines += quality
    lines += [f"  {key}: {value}" for key, value in prediction.patient.items()]
    lines += [f"  warning: {text}" for text in prediction.warnings]
    width = max(map(len, prediction.probabilities))
    for label, value in sorted(prediction.probabilities.items(), key=lambda item: -item[1]):
        every = [window["probabilities"][label] for window in prediction.windows]
        span = f"  windows {min(every):.3f} to {max(every):.3f}" if len(every) > 1 else ""
        lines.append(f"  {label:<{width}}  {value:.3f}{span}")
    for reason in prediction.reasons:
        lines += [f"  why {reason.label}: {reason.words()}", f"    {reason.ranked()}"]
    return "\n".join(lines)


def as_dict(prediction: Prediction) -> dict[str, Any]:
    """For json; `error` and what is known of the record's quality alone when there is no prediction."""
    quality = {"quality": prediction.quality.to_dict()} if prediction.quality else {}
    if prediction.error:
        return {"record": prediction.record, "error": prediction.error, **quality}
    found = {key: value for key, value in vars(prediction).items() if key != "error"}
    found["reasons"] = [reason.to_dict() for reason in prediction.reasons]
    return {key: value for key, value in found.items() if value or key not in ("patient", "reasons")} | quality
