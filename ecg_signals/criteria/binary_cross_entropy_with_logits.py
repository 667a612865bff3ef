"""Multi-label binary cross entropy per label, with everything ECG-FM's fine-tuning reports."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ecg_signals.config import ConfigError, option
from ecg_signals.criteria.base import Logs
from ecg_signals.criteria.binary_cross_entropy import BinaryCrossEntropyConfig, BinaryCrossEntropyCriterion
from ecg_signals.criteria.labels import valid_class_mask
from ecg_signals.data.label_names import listed
from ecg_signals.metrics.cinc import (
    challenge_score,
    class_positions,
    read_score_weights,
    score_terms,
    sinus_rhythm_index,
)
from ecg_signals.metrics.counts import ratio
from ecg_signals.metrics.groups import grouped_answers
from ecg_signals.metrics.summary import AVERAGES
from ecg_signals.registry import register_criterion

logger = logging.getLogger(__name__)


@dataclass
class BinaryCrossEntropyWithLogitsConfig(BinaryCrossEntropyConfig):
    auc_average: str = option("macro", "what `auroc` and `auprc` average over", choices=AVERAGES)
    pos_weight: list[float] | None = option(None, "factor of each label's positives; usually negatives / positives")
    report_cinc_score: bool = option(False, "the PhysioNet/CinC Challenge 2021 score; needs weights_file")
    weights_file: str | None = option(None, "weights.csv of the Challenge, in the order of the labels")
    per_log_keys: list[str] = option([], "batch keys, such as question_type1, whose values get statistics of their own")


@register_criterion("binary_cross_entropy_with_logits", dataclass=BinaryCrossEntropyWithLogitsConfig)
class BinaryCrossEntropyWithLogitsCriterion(BinaryCrossEntropyCriterion):
    """Summed over all known (item, label) pairs; `sample_size` is their number.

    With `valid_classes` in the batch (ECG-QA), those classes of each item count alone: the answers it may have.
    Statistics by `per_log_keys` need the whole subset, so they are printed after validation.
    """

    per_label: ClassVar[tuple[str, ...]] = ("weight", "pos_weight")
    pos_weight: Tensor | None
    score_weights: Tensor | None
    cfg: BinaryCrossEntropyWithLogitsConfig

    def __init__(self, cfg: BinaryCrossEntropyWithLogitsConfig) -> None:
        super().__init__(cfg)
        weight = None if cfg.pos_weight is None else torch.tensor(cfg.pos_weight)
        self.register_buffer("pos_weight", weight, persistent=False)
        self.register_buffer("score_weights", None, persistent=False)
        self.classes: list[str] = []
        if cfg.report_cinc_score:
            if not cfg.weights_file:
                raise ConfigError("criterion.report_cinc_score=true needs criterion.weights_file=PATH/weights.csv")
            self.classes, weights = read_score_weights(cfg.weights_file)
            self.sinus = sinus_rhythm_index(self.classes, cfg.weights_file)
            self.score_weights = torch.from_numpy(weights)

    def set_labels(self, labels: list[str]) -> None:
        super().set_labels(labels)
        if self.classes and labels and len(labels) != len(self.classes):
            raise ConfigError(
                f"criterion.weights_file={self.cfg.weights_file} has {len(self.classes)} classes, but there are "
                f"{len(labels)} labels; give weights for the same classes, or set criterion.report_cinc_score=false"
            )
        if self.score_weights is not None and labels:
            self._order_score_weights(labels)

    def _order_score_weights(self, labels: list[str]) -> None:
        """Bring the Challenge's classes into the order of the labels, by name or by any of their joined codes."""
        assert self.score_weights is not None
        order = class_positions(self.classes, labels)
        known = [number for number in order if number is not None]
        if not known:
            logger.warning(
                "criterion.weights_file=%s names no class as the labels are named; its classes are taken to be the "
                "labels in order: %s is %r, ...",
                self.cfg.weights_file,
                self.classes[0],
                labels[0],
            )
        elif len(set(known)) < len(labels):
            unknown = [label for label, number in zip(labels, order) if number is None]
            raise ConfigError(
                f"criterion.weights_file={self.cfg.weights_file} has no class of its own for "
                f"{listed(unknown or labels)}; give weights for the same classes, or set "
                f"criterion.report_cinc_score=false"
            )
        elif known != sorted(known):
            self.score_weights = self.score_weights[known][:, known]
            self.classes = [self.classes[number] for number in known]
            self.sinus = sinus_rhythm_index(self.classes, str(self.cfg.weights_file))

    def losses(self, logits: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            logits, target, weight=self.weight, pos_weight=self.pos_weight, reduction="none"
        )

    def sample_size(self, target: Tensor, known: Tensor) -> float | Tensor:
        return known.sum()

    def counted(self, logits: Tensor, known: Tensor, batch: dict[str, Any]) -> Tensor:
        valid = valid_class_mask(logits, batch)
        return known if valid is None else known & valid

    def counts(self, logits: Tensor, target: Tensor, counted: Tensor) -> Logs:
        logs = super().counts(logits, target, counted)
        del logs["tn"]
        predicted = logits > self.cut
        right = (predicted.to(target) == target) | ~counted
        asked = counted.any(dim=1)
        logs |= {"em_correct": (right.all(dim=1) & asked).sum(), "em_count": asked.sum()}
        if self.score_weights is not None:
            logs |= score_terms(self.score_weights, self.sinus, (target == 1) & counted, predicted & counted)
        return logs

    def scores(self, logits: Tensor, target: Tensor, batch: dict[str, Any]) -> dict[str, Tensor]:
        groups = self.groups_of(logits, batch, self.cfg.per_log_keys)
        if not self.cfg.report_auc and not groups:
            return {}
        return {"logits": logits, "target": target, **groups}

    def metrics(self, logs: Mapping[str, float], scores: Mapping[str, np.ndarray]) -> dict[str, float]:
        out = super().metrics(logs, scores)
        for key in self.cfg.per_log_keys:
            if key in scores:
                average = self.cfg.auc_average if self.cfg.report_auc else None
                out |= grouped_answers(key, scores["logits"], scores["target"], scores[key], self.cut, average)
        return out

    def count_metrics(self, logs: Mapping[str, float]) -> dict[str, float]:
        counted = super().count_metrics(logs)
        exact = ratio(logs.get("em_correct", 0.0), logs.get("em_count", 0.0))
        out = {"accuracy": counted.pop("accuracy"), "em_accuracy": exact, **counted}
        if self.score_weights is not None:
            out["cinc_score"] = challenge_score(*(logs.get(key, 0.0) for key in ("o_score", "c_score", "i_score")))
        return out
