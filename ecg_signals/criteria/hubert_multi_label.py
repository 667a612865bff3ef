"""Binary cross entropy whose positives are weighed by the training data, as HuBERT-ECG is fine-tuned."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ecg_signals.config import option
from ecg_signals.criteria.binary_cross_entropy_with_logits import (
    BinaryCrossEntropyWithLogitsConfig,
    BinaryCrossEntropyWithLogitsCriterion,
)
from ecg_signals.criteria.loss_weights import label_weights, training_targets
from ecg_signals.registry import register_criterion


@dataclass
class HubertMultiLabelConfig(BinaryCrossEntropyWithLogitsConfig):
    report_auc: bool = option(True, "AUROC and AUPRC after each validation")
    use_loss_weights: bool = option(False, "pos_weight = negatives / positives in the training data")


@register_criterion("hubert_multi_label", dataclass=HubertMultiLabelConfig)
class HubertMultiLabel(BinaryCrossEntropyWithLogitsCriterion):
    dataset = "hubert_csv"

    def prepare(self, model: nn.Module, dataset: Any) -> None:
        """Count the labels of the training data. A label without positives gets weight 1."""
        super().prepare(model, dataset)
        if self.cfg.use_loss_weights:  # type: ignore[attr-defined]
            weights = torch.from_numpy(label_weights(training_targets(dataset))).float()
            self.pos_weight = weights.to(next(model.parameters()).device)
