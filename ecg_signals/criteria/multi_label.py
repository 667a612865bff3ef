"""Binary cross entropy whose positives are weighed by the training data; with means over labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from ecg_signals.config import option
from ecg_signals.criteria.binary_cross_entropy_with_logits import (
    BinaryCrossEntropyWithLogitsConfig,
    BinaryCrossEntropyWithLogitsCriterion,
)
from ecg_signals.criteria.loss_weights import label_weights, training_targets
from ecg_signals.metrics.logits import LABELS
from ecg_signals.metrics.summary import means
from ecg_signals.registry import register_criterion

PRINTED = {
    "f1_macro": "f1_score",
    "recall_macro": "recall",
    "precision_macro": "precision",
    "specificity_macro": "specificity",
}


@dataclass
class MultiLabelConfig(BinaryCrossEntropyWithLogitsConfig):
    report_auc: bool = option(True, "AUROC and AUPRC after each validation")
    use_loss_weights: bool = option(False, "pos_weight = negatives / positives in the training data")


@register_criterion("multi_label", dataclass=MultiLabelConfig)
class MultiLabel(BinaryCrossEntropyWithLogitsCriterion):
    filled: ClassVar[Mapping[str, str]] = {"pos_weight": "use_loss_weights"}

    def prepare(self, model: nn.Module, dataset: Any) -> None:
        """Count the labels of the training data. A label without positives gets weight 1."""
        super().prepare(model, dataset)
        if self.cfg.use_loss_weights:
            weights = torch.from_numpy(label_weights(training_targets(dataset))).float()
            self.pos_weight = weights.to(next(model.parameters()).device)
            if getattr(dataset, "training", False):
                self.cfg.pos_weight = weights.tolist()  # checkpoints say what their logits were trained with

    def metrics(self, logs: Mapping[str, float], scores: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Also means over labels: `f1_macro`, `recall_macro`, `precision_macro`, `specificity_macro`."""
        out = super().metrics(logs, scores)
        return {**out, **means(PRINTED, scores, LABELS, self.cut)} if scores else out
