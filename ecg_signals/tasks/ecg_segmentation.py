"""Which wave is every sample of?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ecg_signals.config import ConfigError, option
from ecg_signals.criteria.base import BaseCriterion
from ecg_signals.data.datasets.base import BaseDataset
from ecg_signals.data.datasets.segmentation import SegmentationDataset
from ecg_signals.models.base import BaseModel
from ecg_signals.registry import register_task
from ecg_signals.tasks.base import BaseTask
from ecg_signals.tasks.ecg_pretraining import EcgPretrainingConfig


@dataclass
class EcgSegmentationConfig(EcgPretrainingConfig):
    apply_cgm: bool = option(False, "the model also learns the files' `label` (unet_cgm_segmentor)")


@register_task("ecg_segmentation", dataclass=EcgSegmentationConfig)
class EcgSegmentation(BaseTask):
    """Trained by cross entropy of samples; validated by the boundaries of the waves as well."""

    cfg: EcgSegmentationConfig

    @classmethod
    def dataset_name(cls, cfg: Mapping[str, Any], usual: str) -> str:
        return "segmentation"

    def load_dataset(self, split: str, *, training: bool = False) -> BaseDataset:
        dataset = super().load_dataset(split, training=training)
        if isinstance(dataset, SegmentationDataset):
            dataset.labelled = self.cfg.apply_cgm
        return dataset

    def align(self, model: BaseModel, criterion: BaseCriterion, dataset: BaseDataset) -> list[int] | None:
        if isinstance(dataset, SegmentationDataset):
            dataset.classes = len(getattr(model.cfg, "label_idx", ())) or None
        return super().align(model, criterion, dataset)

    def prepare(self, model: BaseModel, criterion: BaseCriterion, dataset: BaseDataset) -> None:
        """Check that the model marks samples, and has as many labels as the files."""
        if not model.of_samples:
            raise ConfigError(
                f"task ecg_segmentation trains a model that marks every sample, and {type(model).__name__} does not; "
                f"set model._name=unet_segmentor"
            )
        wanted = getattr(model.cfg, "num_labels", None)
        if self.cfg.apply_cgm and wanted is None:
            raise ConfigError("task.apply_cgm=true, but the model has no labels; set model._name=unet_cgm_segmentor")
        if wanted is not None and not self.cfg.apply_cgm and dataset.label_file is None:
            raise ConfigError("the model learns labels, too: set task.apply_cgm=true, or task.label_file")
        if wanted is not None and dataset.num_labels != int(wanted):
            found = dataset.num_labels or "no"
            raise ConfigError(f"{dataset.path} has {found} labels, but model.num_labels={wanted}; set it to {found}")
        if wanted is not None and dataset.labels and not model.labels:
            model.labels = list(dataset.labels)
        super().prepare(model, criterion, dataset)
