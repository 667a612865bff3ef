"""Classification that is validated per record: the logits of a record's segments are averaged first."""

import re
from collections.abc import Mapping

import numpy as np

from ecg_signals.criteria.base import BaseCriterion
from ecg_signals.registry import register_task
from ecg_signals.tasks.ecg_classification import EcgClassification, EcgClassificationConfig


@register_task("ecg_classification_by_record", dataclass=EcgClassificationConfig)
class EcgClassificationByRecord(EcgClassification):
    def subset_metrics(
        self, criterion: BaseCriterion, results: Mapping[str, tuple[dict[str, float], dict[str, np.ndarray]]]
    ) -> dict[str, float]:
        """The criterion's statistics with `scores` [records, ...] instead of [segments, ...]."""
        ((split, (logs, scores)),) = results.items()
        manifest = self.datasets[split].manifest  # type: ignore[attr-defined]
        stems = [re.sub(r"_\d+\.\w+$", "", manifest.stem(row)) for row in range(len(manifest))]
        names, record = np.unique(stems, return_inverse=True)          # record of every segment
        count = np.bincount(record)[:, None]                           # [records, 1]
        averaged = {}
        for key, values in scores.items():                             # [segments, labels]
            total = np.zeros((len(names), values.shape[1]))
            np.add.at(total, record, values)
            averaged[key] = total / count
        return {**criterion.metrics(logs, averaged), "records": float(len(names))}
