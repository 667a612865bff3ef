"""Multi-label binary cross entropy per positive label, with counts, AUROC and AUPRC."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.criteria.base import BaseCriterion, CriterionOutput, Logs
from ecg_signals.criteria.labels import check_label_weights, label_matrix, logged, sample_size_of
from ecg_signals.metrics.counts import precision_recall_f1, ratio
from ecg_signals.metrics.logits import LABELS
from ecg_signals.metrics.summary import AVERAGES, summarise_ranking
from ecg_signals.registry import register_criterion


@dataclass
class BinaryCrossEntropyConfig(BaseConfig):
    weight: list[float] | None = option(None, "factor of each label's loss, one per label")
    threshold: float = option(0.5, "probability above which a label counts as predicted")
    report_auc: bool = option(False, "AUROC and AUPRC after each validation")
    auc_average: str = option("macro", "what `auroc` and `auprc` average over", choices=AVERAGES, ours=True)


@register_criterion("binary_cross_entropy", dataclass=BinaryCrossEntropyConfig)
class BinaryCrossEntropyCriterion(BaseCriterion):
    """Summed over all known (item, label) pairs; `sample_size` counts the positive ones."""

    logits = LABELS
    per_label: ClassVar[tuple[str, ...]] = ("weight",)
    weight: Tensor | None
    cfg: BinaryCrossEntropyConfig

    def __init__(self, cfg: BinaryCrossEntropyConfig) -> None:
        super().__init__(cfg)
        if not 0 <= cfg.threshold <= 1:
            raise ConfigError(f"criterion.threshold is {cfg.threshold}; set a probability between 0 and 1, such as 0.5")
        self.cut = logit(cfg.threshold)
        self.checked = False
        self.register_buffer("weight", None if cfg.weight is None else torch.tensor(cfg.weight), persistent=False)

    def set_labels(self, labels: list[str]) -> None:
        for key in self.per_label:
            check_label_weights(key, getattr(self.cfg, key), labels)
        self.checked = bool(labels)

    def forward(self, model: nn.Module, batch: dict[str, Any]) -> CriterionOutput:
        logits = model(**batch["net_input"])["logits"].float()  # [items, labels]
        if not self.checked:
            self.set_labels([str(number) for number in range(logits.size(-1))])
        target, known = label_matrix(logits, batch)
        counted = self.counted(logits, known, batch)
        losses = self.losses(logits, target).masked_fill(~counted, 0.0)
        logs = self.counts(logits.detach(), target, counted)
        loss = self.reduce(losses, counted)
        return CriterionOutput(
            loss,
            sample_size=sample_size_of(batch, self.sample_size(target, counted)),
            logs=logged(loss, batch, **logs),
            scores={} if self.training else self.scores(logits, target.masked_fill(~counted, math.nan), batch),
        )

    def losses(self, logits: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, target, weight=self.weight, reduction="none")

    def reduce(self, losses: Tensor, known: Tensor) -> Tensor:
        return losses.sum()

    def sample_size(self, target: Tensor, known: Tensor) -> float | Tensor:
        return ((target == 1) & known).sum()

    def counted(self, logits: Tensor, known: Tensor, batch: dict[str, Any]) -> Tensor:
        """Which pairs count, in the loss and in the statistics."""
        return known

    def counts(self, logits: Tensor, target: Tensor, counted: Tensor) -> Logs:
        """Numbers of pairs that are counted, right, and true or false positive or negative."""
        predicted, positive, negative = logits > self.cut, (target == 1) & counted, (target == 0) & counted
        tp, fp, count = (predicted & positive).sum(), (predicted & negative).sum(), counted.sum()
        fn, tn = positive.sum() - tp, negative.sum() - fp
        return {"correct": tp + tn, "count": count, "tp": tp, "fp": fp, "tn": tn, "fn": fn}

    def scores(self, logits: Tensor, target: Tensor, batch: dict[str, Any]) -> dict[str, Tensor]:
        """What statistics over a whole subset need; `target` is NaN where a pair is not counted."""
        return {"logits": logits, "target": target} if self.cfg.report_auc else {}

    def groups_of(self, logits: Tensor, batch: dict[str, Any], keys: list[str]) -> dict[str, Tensor]:
        """The groups of `per_log_keys` that the batch holds; warns once of the others."""
        self.say_missing("per_log_keys", keys, batch, "a batch holds")
        return {key: self.group_ids(logits, batch, key) for key in keys if key in batch}

    def group_ids(self, logits: Tensor, batch: dict[str, Any], key: str) -> Tensor:
        """batch[key] as one number per item, [items]."""
        return torch.as_tensor(batch[key], device=logits.device).reshape(len(logits))

    def metrics(self, logs: Mapping[str, float], scores: Mapping[str, np.ndarray]) -> dict[str, float]:
        out = {**super().metrics(logs, scores), **self.count_metrics(logs)}
        if self.cfg.report_auc and scores:
            out |= summarise_ranking(scores["logits"], scores["target"], self.cfg.auc_average)
        return out

    def count_metrics(self, logs: Mapping[str, float]) -> dict[str, float]:
        answers = precision_recall_f1(logs.get("tp", 0.0), logs.get("fp", 0.0), logs.get("fn", 0.0))
        return {"accuracy": ratio(logs.get("correct", 0.0), logs.get("count", 0.0)), **answers}


def logit(probability: float) -> float:
    """The logit of a probability; infinite for 0 and 1."""
    if probability in (0, 1):
        return math.inf if probability else -math.inf
    return math.log(probability / (1 - probability))
