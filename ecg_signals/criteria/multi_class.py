"""Cross entropy whose classes are weighed by the training data; with macro AUROC."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ecg_signals.config import ConfigError, option
from ecg_signals.criteria.base import CriterionOutput
from ecg_signals.criteria.cross_entropy import CrossEntropyConfig, CrossEntropyCriterion, class_targets
from ecg_signals.criteria.loss_weights import class_weights, training_targets
from ecg_signals.metrics.logits import CLASSES
from ecg_signals.metrics.summary import means
from ecg_signals.registry import register_criterion

PRINTED = {"accuracy_macro": "recall", "auroc": "auroc", "auprc": "auprc"}


@dataclass
class MultiClassConfig(CrossEntropyConfig):
    use_loss_weights: bool = option(False, "weight = classes / items of the class in the training data")
    weights_by_frequency: bool = option(False, "list those weights by falling frequency, not by class, as published")


@register_criterion("multi_class", dataclass=MultiClassConfig)
class MultiClass(CrossEntropyCriterion):
    """The weighted mean: `sample_size` is the sum of the weights of the targets."""

    cfg: MultiClassConfig

    def prepare(self, model: nn.Module, dataset: Any) -> None:
        """Count the classes of the training data. Raises: ConfigError when one is above the model's."""
        super().prepare(model, dataset)
        if not self.cfg.use_loss_weights:
            return
        targets, classes = training_targets(dataset)[:, 0], int(model.cfg.num_labels)  # type: ignore[union-attr,arg-type]
        if targets.max() >= classes:
            raise ConfigError(
                f"the training data has the class {int(targets.max())}, but model.num_labels={classes}; "
                f"set model.num_labels={int(targets.max()) + 1}"
            )
        weights = class_weights(targets, classes, self.cfg.weights_by_frequency)
        self.weight = torch.from_numpy(weights).float().to(next(model.parameters()).device)

    def from_logits(self, logits: Tensor, batch: dict[str, Any]) -> CriterionOutput:
        output = super().from_logits(logits, batch)
        logits, target, known = class_targets(logits, batch)
        if self.weight is not None:
            output.sample_size = (self.weight[target] * known).sum()
        if not self.training:
            output.scores = {"logits": logits, "target": torch.where(known, target, -1)}
        return output

    def metrics(self, logs: Mapping[str, float], scores: Mapping[str, np.ndarray]) -> dict[str, float]:
        """`accuracy` over items, `accuracy_macro` over classes, `auroc` and `auprc` one class against the others."""
        out = super().metrics(logs, scores)
        return {**out, **means(PRINTED, scores, CLASSES)} if scores else out
