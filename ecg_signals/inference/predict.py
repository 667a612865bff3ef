"""From a record file to probabilities per label: windows as the model was trained on, then one value per record."""

import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ecg_signals.checkpoint.load import build_source, files_read, load_source
from ecg_signals.checkpoint.origin import notes
from ecg_signals.config import ConfigError, UsageError, unknown_message
from ecg_signals.data.label_names import listed
from ecg_signals.evaluation.run import run
from ecg_signals.evaluation.windows import Logits, Pooled, model_batches, record_batches
from ecg_signals.inference.asking import Asked, Question
from ecg_signals.inference.facts import digest, facts, version_of
from ecg_signals.inference.prediction import (
    ABSENT,
    NOT_VALIDATED,
    PRESENT,
    UNCERTAIN,
    Prediction,
    as_dict,
    as_text,
)
from ecg_signals.inference.reasons import FEW_LEADS, LARGE, Occlusion, Reason, Windows, explain
from ecg_signals.interop.layout import logit_columns
from ecg_signals.metrics.calibrated import POINTS, log_odds, probability_of
from ecg_signals.metrics.likeness import USUAL, distances
from ecg_signals.metrics.logits import CLASSES, COSINES, joined_logits, probabilities_of
from ecg_signals.quality.assess import Quality, assess, refuse_unusable, without_flat
from ecg_signals.readers.plausible import refuse_scale
from ecg_signals.readers.read import read_record
from ecg_signals.runtime.placement import compute_device
from ecg_signals.signal.contract import stated_contract
from ecg_signals.signal.record import Record

__all__ = ["TOP", "Prediction", "Predictor", "as_dict", "as_text"]

logger = logging.getLogger(__name__)

BATCH = 64  # windows per forward pass
TOP = "top"  # in place of a label to be explained: the one with the highest probability


class Predictor:
    """A checkpoint with a head, ready for records.

    Args:
        source: as for `load_model`.
        device: where to compute.
        labels: names of the logits' columns, for checkpoints that do not hold them.
        published: answer by the plain sigmoid, as the projects do whose files these are.
        prevalence: label -> its share among the people asked about, where it is not that of the validation records.
        point: which of the stored thresholds decides, one of metrics.calibrated.POINTS.
        question: what a model that reads texts is asked of every record.
    Raises: ConfigError when the model has no head or no input contract, or `labels` are not as many as the logits;
        UsageError for a prevalence that cannot be.
    """

    def __init__(
        self,
        source: str | os.PathLike[str],
        device: str | torch.device = "cpu",
        labels: Sequence[str] | None = None,
        *,
        published: bool = False,
        prevalence: Mapping[str, float] | None = None,
        point: str = POINTS[0],
        question: Question | None = None,
    ) -> None:
        self.place = source
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
                f"ecg-train --config-name linear/diagnosis model.model_path={source} ..."
            )
        if self.model.logit_kind is None:
            logger.warning("%s does not say what its logits are: taken as independent labels (sigmoid)", source)
        if labels and self.model.labels and list(labels) != self.model.labels:
            raise ConfigError(
                f"{source} names its own labels, {listed(self.model.labels)}, and those given are others, or in "
                f"another order: {listed(labels)}. Leave --labels out; it is for checkpoints that name none"
            )
        self.question = question or Question()
        self.asked = Asked(self.model, self.question, self.signal)
        self.labels = list(labels or self.model.labels or [f"label_{index}" for index in range(count)])
        if len(self.labels) != count:
            raise ConfigError(f"{len(self.labels)} label names for a model with {count} logits; give one per logit")
        self.calibration = None if published else self.model.calibration
        self.calibrated = self.calibration is not None and self.calibration.fitted
        self.point = point
        self.shifts = self._shifts(prevalence or {})

    def _shifts(self, prevalence: Mapping[str, float]) -> Tensor:
        """[labels] what another prevalence than that of the validation records adds to a logit."""
        shifts = torch.zeros(len(self.labels), dtype=torch.float64)
        if prevalence and self.model.logit_kind == CLASSES:
            raise UsageError("the model chooses one class out of several, whose prevalence cannot be stated alone")
        for label, share in prevalence.items():
            self.check_label(label, "whose prevalence is given")
            column = self.labels.index(label)
            found = self.calibration.stored["prevalence"][column] if self.calibration and self.calibrated else 0.0
            if not 0 < found < 1:
                raise UsageError(
                    f"a prevalence of '{label}' needs a calibrated model whose validation records have the label and "
                    f"lack it: run ecg-calibrate, or leave it out"
                )
            if not 0 < share < 1:
                raise UsageError(f"the prevalence of '{label}' is {share}; give a share between 0 and 1, such as 0.02")
            shifts[column] = log_odds(share) - log_odds(found)
        return shifts

    @cached_property
    def about(self) -> dict[str, Any]:
        """What an answer says of the model: `name`, `sha256`, `labels_version`, `calibrated`, `trained_on` and more."""
        records = self.model.origin.get("records")
        stored = self.calibration.stored if self.calibration is not None and self.calibrated else {}
        keys = ("subset", "n_records", "date", "method", "ece_before", "ece_after")
        return {
            "name": Path(self.place).name,
            "architecture": self.model.cfg.to_dict().get("_name"),
            "sha256": digest(files_read(self.place)),
            "labels_version": version_of(self.labels),
            "calibrated": self.calibrated,
            "trained_on": None if records is None else {"records": records},
            "validated_on": {key: stored[key] for key in keys} if stored else None,
        }

    def windows(self, record: Record) -> np.ndarray:
        """[windows, labels]: probabilities of every window of a record."""
        return self._probabilities(self._unweighted(self.logits(record)))

    def _unweighted(self, windows: Tensor) -> Tensor:
        """[windows, labels] logits without what pos_weight added to them, in double precision."""
        return windows.double() if self.calibration is None else self.calibration.of_windows(windows.double())

    def _probabilities(self, logits: Tensor) -> np.ndarray:
        """[..., labels] unweighted logits -> probabilities, or values, as they are printed."""
        return probabilities_of(self._calibrated(logits), self.model.logit_kind).float().numpy()

    def _calibrated(self, logits: Tensor) -> Tensor:
        return logits if self.calibration is None else self.calibration.of_record(logits) + self.shifts

    def logits(self, record: Record) -> Tensor:
        """[windows, labels] of every window of a record, on the CPU."""
        return self.answers(record)[0]

    def answers(self, record: Record) -> tuple[Tensor, Tensor | None]:
        """[windows, labels] logits, and [dim] what the record is to the model's head; None where that is not said."""
        found, pooled = Logits(), Pooled()
        run(self.asked, record_batches(self.signal, record, BATCH), self.device, [found, pooled])
        (windows,) = found.windows()
        return windows, pooled.mean()

    def joined(self, windows: Tensor) -> Tensor:
        """Logits of windows [windows, labels] -> unweighted ones of the record [labels], as the contract joins them."""
        rules = [self.signal.rule(label) for label in self.labels]
        return joined_logits(self._unweighted(windows), rules, self.model.logit_kind)

    def aggregate(self, logits: Tensor) -> np.ndarray:
        """Logits of windows, [windows, labels] -> probabilities [labels], as the input contract joins windows."""
        return self._probabilities(self.joined(logits))

    def logit(self, windows: Tensor, label: str) -> float:
        """The logit of a record's answer, from those of its windows [windows, labels]; a value, for a regression."""
        answer = self._calibrated(self.joined(windows))
        own = answer[self.labels.index(label)]
        if self.model.logit_kind == CLASSES:
            own = own - answer[[name != label for name in self.labels]].logsumexp(dim=0)
        return float(own)

    def decisions(self, joined: Tensor) -> list[dict[str, Any]]:
        """What is decided of each label, from the record's unweighted logits [labels].

        An interval that holds the threshold leaves it open. Both are of the validation records: another prevalence
        moves them as it moves the probability, so that sensitivity and specificity stay what they were. Of classes, of
        which a record has one, no other than the most probable one is called present.
        """
        if self.calibration is None or not self.calibrated:
            return [{"threshold": None, "interval": None, "decision": NOT_VALIDATED} for _ in self.labels]
        found = probabilities_of(self.calibration.of_record(joined.double()), self.model.logit_kind).tolist()
        decided = [self._decision(column, probability) for column, probability in enumerate(found)]
        for probability, each in zip(found, decided):
            if self.model.logit_kind == CLASSES and probability < max(found) and each["decision"] == PRESENT:
                each["decision"] = ABSENT
        return decided

    def _decision(self, column: int, probability: float) -> dict[str, Any]:
        assert self.calibration is not None
        shift = float(self.shifts[column])
        ends, reached = self.calibration.band(probability), self.calibration.threshold(column, self.point)
        interval = None if ends is None else [moved(end, shift) for end in ends]
        if reached is None:
            return {"threshold": None, "interval": interval, "decision": NOT_VALIDATED}
        cut = reached["threshold"]
        if ends is not None and ends[0] < cut < ends[1]:
            decision = UNCERTAIN
        else:
            decision = PRESENT if probability >= cut else ABSENT
        return {**reached, "threshold": moved(cut, shift), "interval": interval, "decision": decision}

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
        run(self.asked, model_batches([batch]), self.device, [found])
        return torch.cat(found.parts)

    def starts(self, record: Record, count: int) -> list[float]:
        """Seconds of the record at which its `count` windows begin."""
        signal = self.signal
        length = round(record.signal.shape[-1] * signal.sample_rate / record.sample_rate)
        stride = signal.stride_samples or signal.window_samples
        starts = signal.starts(length) if signal.window_count else [number * stride for number in range(count)]
        return [start / signal.sample_rate for start in starts]

    def check_label(self, label: str, role: str = "to be explained", also: Sequence[str] = ()) -> None:
        """Raises: UsageError for a label that the model does not have; `also`: what may stand in its place."""
        if label not in (*also, *self.labels):
            words = "".join(f"{word}, or " for word in also)
            raise UsageError(unknown_message(f"label {role}, '{label}'", label, self.labels, f"{words}one of"))

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
        known: dict[str, Any] = {}
        stated = force or reading.get("units") is not None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                record = read_record(path, **reading)
                known = facts(path, record)
                quality = assess(record, scale_stated=stated)
                shown = self.usable(path, record, quality, scale_stated=stated, force=force)
                prediction = self._predict(str(path), shown, explain)
                prediction.patient = record.patient
            except ConfigError as error:
                prediction = Prediction(str(path), error=str(error))
        prediction.quality, prediction.facts = quality, known
        prediction.warnings = list(dict.fromkeys(str(item.message) for item in caught if item.category is UserWarning))
        return prediction

    def usable(
        self, path: str | os.PathLike[str], record: Record, quality: Quality, scale_stated: bool, force: bool = False
    ) -> Record:
        """What the model is asked about: the record, without its flat leads where it knows missing ones.

        Raises: ConfigError for a record that is not to be answered.
        """
        if not scale_stated:
            refuse_scale(path, record)
        if not force:
            refuse_unusable(path, quality)
        return without_flat(record, quality) if self.signal.zero_missing_leads else record

    def _predict(self, path: str, record: Record, why: str | None) -> Prediction:
        asked = [] if self.question.text is None else [f"asked: {self.question.text}"]
        found = Prediction(path, notes=asked + notes(self.model.origin))
        (logits, pooled), seconds = self.answers(record), self.signal.window_samples / self.signal.sample_rate
        self._warn_unlike(pooled)
        found.windows = [
            {"start": at, "end": at + seconds, "probabilities": self._named(row)}
            for at, row in zip(self.starts(record, len(logits)), self._probabilities(self._unweighted(logits)))
        ]
        joined = self.joined(logits)
        found.probabilities = named = self._named(self._probabilities(joined))
        found.decisions, found.calibrated = self.decisions(joined), self.calibrated
        label = max(named, key=lambda name: named[name]) if why == TOP else why
        found.reasons = [] if label is None else [self.explain(record, label)]
        return found

    def _warn_unlike(self, pooled: Tensor | None) -> None:
        """Warns of a record that lies further from the validation records than nearly all of them do."""
        stored = self.model.calibration.stored if self.model.calibration is not None else {}
        known = stored.get("likeness")
        if pooled is None or known is None:
            return
        (distance,) = distances(known, pooled.double().numpy()[None])
        if distance > known["limit"]:
            warnings.warn(
                f"unlike the ECGs that this model was validated on: the distance is {distance:.3g}, and "
                f"{100 * USUAL:g} % of them lie within {known['limit']:.3g}",
                stacklevel=2,
            )

    def _named(self, row: np.ndarray) -> dict[str, float]:
        return {label: float(value) for label, value in zip(self.labels, row)}


def moved(probability: float, shift: float) -> float:
    """A probability whose log odds are changed by `shift`; 0 and 1 stay."""
    return probability_of(log_odds(probability) + shift) if shift and 0 < probability < 1 else probability
