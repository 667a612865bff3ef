"""One yes-or-no question per head: each item is asked some of the labels, and every label counts alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ecg_signals.config import option
from ecg_signals.criteria.binary_cross_entropy import BinaryCrossEntropyConfig, BinaryCrossEntropyCriterion
from ecg_signals.criteria.labels import spread
from ecg_signals.metrics.groups import NO_GROUP, grouped_answers
from ecg_signals.registry import register_criterion


@dataclass
class MultiHeadBinaryCrossEntropyConfig(BinaryCrossEntropyConfig):
    log_per_class: bool = option(False, "statistics of every label by itself, as cls_<number>_accuracy and so on")
    per_log_keys: list[str] = option([], "batch keys, such as attribute_id, whose values get statistics of their own")


@register_criterion("multi_head_binary_cross_entropy", dataclass=MultiHeadBinaryCrossEntropyConfig)
class MultiHeadBinaryCrossEntropyCriterion(BinaryCrossEntropyCriterion):
    """Mean over the labels asked in the batch of each label's mean loss; `sample_size` is 1.

    The batch lists the labels asked of each item in `target_idx` and their answers in `label`; `per_log_keys` hold
    one number per answer, or one per item. Their statistics are printed after validation.
    """

    cfg: MultiHeadBinaryCrossEntropyConfig

    def reduce(self, losses: Tensor, known: Tensor) -> Tensor:
        asked = known.sum(dim=0)  # [labels]
        return (losses.sum(dim=0) / asked.clamp(min=1)).sum() / (asked > 0).sum().clamp(min=1)

    def sample_size(self, target: Tensor, known: Tensor) -> float | Tensor:
        return 1.0

    def scores(self, logits: Tensor, target: Tensor, batch: dict[str, Any]) -> dict[str, Tensor]:
        groups = self.groups_of(logits, batch, self.cfg.per_log_keys)
        if not (self.cfg.report_auc or self.cfg.log_per_class or groups):
            return {}
        return {"logits": logits, "target": target, **groups}

    def group_ids(self, logits: Tensor, batch: dict[str, Any], key: str) -> Tensor:
        """batch[key] per item, [items], or put beside the answers they belong to, [items, labels]."""
        values = batch[key]
        if isinstance(values, (list, tuple)) and "target_idx" in batch:
            rows = [torch.as_tensor(value).reshape(-1) for value in values]
            if all(len(row) == len(asked) for row, asked in zip(rows, batch["target_idx"])):
                return spread(logits, batch["target_idx"], rows, NO_GROUP)
        return super().group_ids(logits, batch, key)

    def metrics(self, logs: Mapping[str, float], scores: Mapping[str, np.ndarray]) -> dict[str, float]:
        out = super().metrics(logs, scores)
        if not scores:
            return out
        average = self.cfg.auc_average if self.cfg.report_auc else None
        groups = {key: scores[key] for key in self.cfg.per_log_keys if key in scores}
        if self.cfg.log_per_class:
            columns = np.broadcast_to(np.arange(scores["logits"].shape[1]), scores["logits"].shape)
            groups["cls"] = np.where(np.isnan(scores["target"]), NO_GROUP, columns)
        for name, ids in groups.items():
            out |= grouped_answers(name, scores["logits"], scores["target"], ids, self.cut, average)
        return out
