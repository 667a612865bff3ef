"""Pretraining on ECGs and their reports."""

from collections.abc import Mapping
from typing import Any

from ecg_signals.config import ConfigError
from ecg_signals.criteria.base import BaseCriterion
from ecg_signals.data.datasets.base import BaseDataset
from ecg_signals.models.base import BaseModel
from ecg_signals.registry import register_task
from ecg_signals.tasks.base import BaseTask
from ecg_signals.tasks.ecg_pretraining import EcgPretrainingConfig


@register_task("ecg_text_pretraining", dataclass=EcgPretrainingConfig)
class EcgTextPretraining(BaseTask):
    """The criteria m3ae and medvill, on dataset ecg_text."""

    @classmethod
    def dataset_name(cls, cfg: Mapping[str, Any], usual: str) -> str:
        return "ecg_text"

    def prepare(self, model: BaseModel, criterion: BaseCriterion, dataset: BaseDataset) -> None:
        check_vocabulary(model, dataset)
        super().prepare(model, criterion, dataset)


def check_vocabulary(model: BaseModel, dataset: BaseDataset) -> None:
    """Raises: ConfigError where the tokenizer has numbers that the model has no embedding for."""
    size, tokenizer = getattr(model.cfg, "vocab_size", None), getattr(dataset, "tokenizer", None)
    if size is not None and tokenizer is not None and len(tokenizer) > size:
        raise ConfigError(
            f"{tokenizer.path} has {len(tokenizer):,} tokens, but model.vocab_size={size:,}; set "
            f"model.vocab_size={len(tokenizer)}, or give the vocabulary that the model was pretrained with"
        )
