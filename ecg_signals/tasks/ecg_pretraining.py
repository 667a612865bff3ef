"""Self-supervised pretraining on ECG segments."""

from dataclasses import dataclass

from ecg_signals.config import BaseConfig, option
from ecg_signals.registry import register_task
from ecg_signals.tasks.base import BaseTask


@dataclass
class EcgPretrainingConfig(BaseConfig):
    """How signals are read is the dataset's business, also where a recipe says it in this section."""

    data: str = option("???", "folder of the manifests, <split>.tsv")


@register_task("ecg_pretraining", dataclass=EcgPretrainingConfig)
class EcgPretraining(BaseTask):
    """The criterion's usual dataset: pairs for CMSC, two views for SimCLR and 3KG, else one segment per item."""
