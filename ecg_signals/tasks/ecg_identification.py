"""Recognising people by their ECG: trained as a classification of identities, validated by retrieval."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ecg_signals.criteria.base import BaseCriterion
from ecg_signals.metrics.retrieval import retrieval_accuracy
from ecg_signals.registry import register_task
from ecg_signals.tasks.base import BaseTask
from ecg_signals.tasks.ecg_pretraining import EcgPretrainingConfig


@register_task("ecg_identification", dataclass=EcgPretrainingConfig)
class EcgIdentification(BaseTask):
    """`valid_subset=valid` reads valid_gallery.tsv and valid_probe.tsv."""

    says_nothing: ClassVar[dict[str, str]] = {
        "loss": "checkpoint.best_checkpoint_metric=accuracy checkpoint.maximize_best_checkpoint_metric=true"
    }

    @classmethod
    def dataset_name(cls, cfg: Mapping[str, Any], usual: str) -> str:
        return "identification"

    def splits_of(self, subset: str) -> list[str]:
        return [f"{subset}_gallery", f"{subset}_probe"] if subset != self.config.dataset.train_subset else [subset]

    def subset_metrics(
        self, criterion: BaseCriterion, results: Mapping[str, tuple[dict[str, float], dict[str, np.ndarray]]]
    ) -> dict[str, float]:
        """Share of probes whose most similar gallery row has the same patient; the loss is 0, it means nothing."""
        if len(results) == 1:
            return super().subset_metrics(criterion, results)
        (_, gallery), (_, probe) = results.values()
        accuracy = retrieval_accuracy(
            probe["logits"], gallery["logits"], probe["patient_id"].reshape(-1), gallery["patient_id"].reshape(-1)
        )
        return {"loss": 0.0, "nsignals": float(len(probe["logits"])), "accuracy": accuracy}
